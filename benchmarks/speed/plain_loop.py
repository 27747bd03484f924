"""The techniques of the default space in plain PyTorch: fused AdamW, index tensors, nothing of Dashpot but the
networks and the rows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tune_setup import evaluations_of


class Plain:
    """A candidate's network on a fold, trained with the same techniques in plain PyTorch; from Dashpot are only the
    network and the rows.
    """

    def __init__(self, task: Any, candidate: Any, fold: int, training: Any) -> None:
        import numpy as np
        import torch

        member, on = task.member(candidate, fold), candidate.params
        self.training, self.lr, self.size = training, candidate.lr, candidate.batch_size or training.batch_size
        torch.manual_seed(member.seed)
        self.rng = np.random.default_rng(member.seed)
        self.net = member.make()
        self.x, self.y = task.x[torch.as_tensor(member.rows)], task.y[torch.as_tensor(member.rows)]
        self.watch = None if member.watch is None else torch.as_tensor(member.watch)
        self.task, self.epoch, self.step, self.best, self.kept = task, 0, 0, math.inf, None
        value = {name: on[f"{name}.{field}"] if on.get(name) else 0.0 for name, field in FIELDS.items()}
        self.noise, self.alpha, self.smoothing = value["input-noise"], value["mixup"], value["label-smoothing"]
        self.l1, self.decay = value["l1"], value["ema"]
        for module in self.net.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = value["dropout"]
        self.weights = [p for p in self.net.parameters() if p.ndim > 1]
        rest = [p for p in self.net.parameters() if p.ndim <= 1]
        groups = [
            {"params": self.weights, "weight_decay": value["weight-decay"]},
            {"params": rest, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=self.lr, fused=True)
        self.shown = copy.deepcopy(self.net) if self.decay else self.net
        self.pairs = list(self.shown.parameters()), list(self.net.parameters())

    def train_epoch(self) -> None:
        import torch
        from torch.nn.functional import cross_entropy

        from dashpot.search.racing.trial import task_schedule

        n = len(self.x)
        self.net.train()
        order = torch.randperm(n)
        for start in range(0, n, self.size):
            rate = self.lr * task_schedule((self.epoch + start / n) / self.training.epochs)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            rows = order[start : start + self.size]
            x, y = self.x[rows], self.y[rows]
            if self.noise:
                x = x + self.noise * torch.randn_like(x)
            if self.alpha:
                share = torch.from_numpy(self.rng.beta(self.alpha, self.alpha, len(x))).float()
                partner = torch.randperm(len(x))
                out = self.net(torch.lerp(x[partner], x, share[:, None]))
                both = (
                    cross_entropy(out, t, reduction="none", label_smoothing=self.smoothing) for t in (y[partner], y)
                )
                loss = torch.lerp(*both, share).mean()
            else:
                loss = cross_entropy(self.net(x), y, label_smoothing=self.smoothing)
            if self.l1:
                loss = loss + self.l1 * sum(w.abs().sum() for w in self.weights)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.step += 1
            if self.decay:
                with torch.no_grad():
                    torch._foreach_lerp_(*self.pairs, 1 - min(self.decay, (1 + self.step) / (10 + self.step)))
        self.epoch += 1
        if self.watch is not None:
            score = self.score(self.watch)
            if score < self.best:
                self.best, self.kept = score, copy.deepcopy(self.shown.state_dict())

    def score(self, rows: Any) -> float:
        """Log-loss for rows."""
        import torch

        self.shown.eval()
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(self.shown(self.task.x[rows]), self.task.y[rows]))

    def evaluate(self, rows: Any) -> float:
        """Log-loss for rows by the weights that early stopping has kept, where the candidate has it."""
        if self.kept is None:
            return self.score(rows)
        now = copy.deepcopy(self.shown.state_dict())
        self.shown.load_state_dict(self.kept)
        score = self.score(rows)
        self.shown.load_state_dict(now)
        return score


FIELDS = {
    "weight-decay": "strength",
    "dropout": "p",
    "input-noise": "std",
    "mixup": "alpha",
    "label-smoothing": "smoothing",
    "l1": "strength",
    "ema": "decay",
}


def plain_race(search: Any, training: Any, candidates: Sequence[Any], plan: Mapping[int, int]) -> list[float]:
    """Each candidate for its epochs, one after the other, with the race's evaluations and the best weights kept."""
    import torch

    rows, evaluations, best = torch.as_tensor(search.task.folds[0][1]), evaluations_of(training), []
    for number, candidate in enumerate(candidates):
        plain, lowest = Plain(search.task, candidate, 0, training), math.inf
        for epoch in range(1, plan[number] + 1):
            plain.train_epoch()
            if epoch in evaluations and (score := plain.evaluate(rows)) < lowest:
                lowest, _ = score, copy.deepcopy(plain.shown.state_dict())
        best.append(lowest)
    return best
