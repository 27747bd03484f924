"""Mixup, Dropout and EarlyStopping, each known failing of other implementations a test."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import dashpot
from dashpot.dropout import DropoutOrderWarning
from dashpot.techniques.dropout.dropout import dropout


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


class TestMixup:
    def batch(
        self, n: int = 7, weight: torch.Tensor | None = None, alpha: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor, dashpot.Batch, dashpot.Session]:
        model = nn.Linear(2, 3)
        session = dashpot.Mixup(alpha=alpha).attach(model, sgd(model), classes=3)
        # Rows that tell where they came from: the first feature is the row's number, the second is 1.
        x, y = torch.stack([torch.arange(n).float(), torch.ones(n)], dim=1), torch.arange(n) % 3
        return x, y, session.batch(x, y, weight), session

    def test_one_share_per_sample_and_odd_batches(self) -> None:
        _, y, batch, _ = self.batch(7)
        assert batch.x.shape == (7, 2)
        torch.testing.assert_close(batch.y.sum(dim=1), torch.ones(7))
        own = batch.y.gather(1, y[:, None])[:, 0]
        assert len(own.unique()) > 3

    def test_input_and_target_are_mixed_by_the_same_share(self) -> None:
        n = 30
        model = nn.Linear(1, 1)
        session = dashpot.Mixup(alpha=1.0).attach(model, sgd(model))
        x = torch.randn(n, 1)
        batch = session.batch(x, 3 * x[:, 0])
        torch.testing.assert_close(batch.y, 3 * batch.x[:, 0])
        assert not torch.equal(batch.x, x)

    def test_weights_are_exact(self) -> None:
        """The weighted loss of the blends is the weighted mean over both parts, each with its own sample's weight."""
        n = 9
        weight = torch.rand(n) + 0.1
        x, y, batch, session = self.batch(n, weight)
        out = torch.randn(n, 3)
        ours = session.loss(functional.cross_entropy(out, batch.y, reduction="none"), out)
        session.run.rewind()
        plain = session.batch(x, y)  # the same draws, without weights: shares and partners can be read off the inputs
        draws = session.attached[0][1].draws()
        share, order = draws.beta(1.0, n), draws.permutation(n)
        torch.testing.assert_close(plain.x[:, 0], share * x[:, 0] + (1 - share) * x[order, 0])
        part = functional.cross_entropy(out, y, reduction="none") * share * weight
        other = functional.cross_entropy(out, y[order], reduction="none") * (1 - share) * weight[order]
        torch.testing.assert_close(ours, (part + other).sum() / (share * weight + (1 - share) * weight[order]).sum())

    def test_tiny_alphas_give_ends_not_nan(self) -> None:
        _, _, batch, _ = self.batch(200, alpha=0.001)
        assert batch.x.isfinite().all()
        assert (batch.y.max(dim=1).values > 0.99).float().mean() > 0.95

    def test_shares_follow_the_beta_distribution(self) -> None:
        from scipy.stats import kstest

        from dashpot.core.rng import Draws

        assert kstest(Draws(3).beta(0.4, 5000).numpy(), "beta", args=(0.4, 0.4)).pvalue > 0.001

    def test_refuses_what_it_cannot_mix(self) -> None:
        model = nn.Linear(2, 3)
        session = dashpot.Mixup().attach(model, sgd(model))
        with pytest.raises(dashpot.UsageError, match="classes="):
            session.batch(torch.randn(4, 2), torch.arange(4) % 3)
        with pytest.raises(dashpot.UsageError, match="targets='multilabel'"):
            session.batch(torch.randn(4, 2), torch.ones(4, 3, dtype=torch.long))
        with pytest.raises(dashpot.UsageError, match="floating-point"):
            session.batch(torch.ones(4, 2, dtype=torch.long), torch.arange(4) % 3)


class TestDropout:
    def test_rate_and_scale(self) -> None:
        x = torch.ones(400, 500)
        out = dropout(x, torch.rand(400, 500, generator=torch.Generator().manual_seed(0)), 0.3)
        assert abs((out == 0).float().mean().item() - 0.3) < 0.005
        torch.testing.assert_close(out[out != 0], torch.full_like(out[out != 0], 1 / 0.7))

    @pytest.mark.parametrize(("p", "expected"), [(0.0, 1.0), (1.0, 0.0)])
    def test_ends_are_legal_and_have_gradients(self, p: float, expected: float) -> None:
        x = torch.ones(5, requires_grad=True)
        out = dropout(x, torch.tensor([0.0, 0.2, 0.5, 0.9, 1 - 2**-24]), p)
        out.sum().backward()
        assert (out == expected).all()
        assert (x.grad == expected).all()

    def test_takes_over_existing_dropout_and_gives_it_back(self) -> None:
        model = nn.Sequential(nn.Linear(4, 300), nn.ReLU(), nn.Dropout(0.9), nn.Linear(300, 1))
        session = dashpot.Dropout(p=0.2).attach(model, sgd(model))
        assert "after 1 modules: 2" in session.plan()
        out = model[:3](torch.ones(50, 4))
        alive = model[:2](torch.ones(50, 4)) > 0
        assert abs((out[alive] == 0).float().mean().item() - 0.2) < 0.03
        session.close()
        assert model[2].p == 0.9

    def test_micro_batches_and_steps_differ_and_seeds_decide(self) -> None:
        def masks(seed: int) -> list[torch.Tensor]:
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(4, 64), nn.Sigmoid(), nn.Linear(64, 1))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
            dashpot.Dropout(p=0.5).attach(model, optimizer, seed=seed)
            seen = []
            for _ in range(2):
                for _ in range(2):
                    hidden = model[:2](torch.ones(3, 4))
                    seen.append(hidden == 0)
                    model[2](hidden).sum().backward()
                optimizer.step()
            return seen

        first, again, other = masks(1), masks(1), masks(2)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
        assert all(not torch.equal(first[i], first[j]) for i in range(4) for j in range(i))

    def test_warns_before_batch_norm_and_names_the_pair(self) -> None:
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        with pytest.warns(DropoutOrderWarning, match="'1' stands before the batch normalization '3'"):
            dashpot.Dropout(p=0.1).attach(model, sgd(model))

    def test_refuses_models_without_a_place_and_checkpointing(self) -> None:
        model = nn.Sequential(nn.Linear(4, 4))
        with pytest.raises(dashpot.ConflictError, match="matches no module"):
            dashpot.Dropout().attach(model, sgd(model))
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        dashpot.Dropout(p=0.5, on="activations").attach(model, sgd(model))
        out = checkpoint(model, torch.ones(2, 4), use_reentrant=False)
        with pytest.raises(dashpot.UsageError, match="checkpointing"):
            out.sum().backward()


class TestEarlyStopping:
    def session(self, **options: object) -> tuple[nn.Linear, dashpot.Session]:
        model = nn.Linear(1, 1, bias=False)
        return model, dashpot.EarlyStopping(**options).attach(model, sgd(model))

    def feed(
        self, session: dashpot.Session, model: nn.Linear, scores: list[float], name: str = "val_loss"
    ) -> list[bool]:
        stops = []
        for i, score in enumerate(scores):
            nn.init.constant_(model.weight, float(i + 1))
            stops.append(session.epoch({name: score}).stop)
        return stops

    def test_nan_is_never_best(self) -> None:
        model, session = self.session(patience=3)
        assert self.feed(session, model, [math.nan, 2.0, math.nan, 3.0]) == [False, False, False, False]
        session.finish()
        assert model.weight.item() == 2

    def test_ties_keep_the_earlier(self) -> None:
        model, session = self.session(patience=2)
        assert self.feed(session, model, [2.0, 2.0, 2.0]) == [False, False, True]
        session.finish()
        assert model.weight.item() == 1

    def test_negative_scores_and_absolute_delta(self) -> None:
        model, session = self.session(monitor="score", mode="max", patience=2, min_delta=0.5)
        assert self.feed(session, model, [-10.0, -9.8, -9.2, -9.1, -8.9], "score") == [False, False, False, False, True]
        session.finish()
        assert model.weight.item() == 3

    def test_min_epochs_does_not_latch(self) -> None:
        model, session = self.session(patience=2, min_epochs=5)
        assert self.feed(session, model, [1.0, 2.0, 2.0, 2.0, 0.5, 0.6]) == [False] * 6

    def test_a_direction_is_never_guessed(self) -> None:
        with pytest.raises(dashpot.ConfigError, match="never guessed"):
            dashpot.EarlyStopping(monitor="val_accuracy")

    def test_best_weights_come_back_when_interrupted(self) -> None:
        model = nn.Linear(1, 1, bias=False)
        with pytest.raises(KeyboardInterrupt), dashpot.EarlyStopping().attach(model, sgd(model)) as session:
            self.feed(session, model, [3.0, 1.0, 2.0])
            raise KeyboardInterrupt
        assert model.weight.item() == 2

    def test_the_best_is_a_copy_and_survives_a_resume(self) -> None:
        model, session = self.session()
        self.feed(session, model, [3.0, 1.0])
        state = session.state_dict()
        nn.init.constant_(model.weight, 9.0)
        other, resumed = self.session()
        resumed.load_state_dict(state)
        resumed.finish()
        assert other.weight.item() == 2

    def test_best_averages_are_kept_where_averages_are_evaluated(self) -> None:
        model = nn.Linear(1, 1, bias=False)
        optimizer = sgd(model)
        nn.init.constant_(model.weight, 1.0)
        session = (dashpot.EMA(decay=0.5, warmup=False) | dashpot.EarlyStopping()).attach(model, optimizer)
        session.attached[0][1].state["average"]["weight"].fill_(5.0)
        session.epoch({"val_loss": 1.0})
        session.epoch({"val_loss": 2.0})
        session.finish()
        assert model.weight.item() == 5.0

    def test_an_absent_score_is_named(self) -> None:
        _, session = self.session(monitor="val_acc", mode="max")
        with pytest.raises(dashpot.UnknownNameError, match="val_accuracy"):
            session.epoch({"val_accuracy": 0.5})
