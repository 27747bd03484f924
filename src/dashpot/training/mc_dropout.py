"""``mc_predict``: many passes with dropout on, their mean and how much they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.recipe import Recipe
from dashpot.core.technique import Technique
from dashpot.training.dropout_passes import Targets, passes


@dataclass(frozen=True)
class MCResult:
    """What :func:`mc_predict` found, of n rows; float32 on the CPU.

    Attributes:
        mean: of the probabilities (or values) over all samples, [n, outputs].
        std: their standard deviation, with ``samples - 1`` in the denominator, [n, outputs].
        entropy: of ``mean``, in nats, [n]; of several labels the sum over them. None for values.
        mutual_information: of answer and sub-network, in nats, [n]: the entropy less the mean entropy of the samples,
            what is uncertain because the weights are. None for values.
        samples: passes of each row.
    """

    mean: Tensor
    std: Tensor
    entropy: Tensor | None
    mutual_information: Tensor | None
    samples: int


def mc_predict(
    model: nn.Module,
    x: Any,
    samples: int = 30,
    *,
    recipe: Recipe | Technique | str | Sequence[Any] | None = None,
    targets: Targets = "classes",
    seed: int = 0,
    batch_size: int = 1024,
) -> MCResult:
    r"""Monte-Carlo dropout: predict with dropout on, several times, and say how much the answers differ.

    .. math:: \bar p(x) = \frac1T \sum_t \mathrm{softmax}(f_{m_t}(x)), \quad
              I(x) = H(\bar p(x)) - \frac1T \sum_t H(p_{m_t}(x))

    Everything but dropout is in evaluation mode: batch normalization uses its running statistics. What drops are the
    model's own dropout modules, attention and recurrent stacks at their rates, and the techniques of this family that
    are attached to it or named in ``recipe``. A row stands in a batch several times, with masks of its own each time,
    so that one pass gives many samples; where a mask holds for a whole batch (``EmbeddingDropout``, ``DropConnect``)
    each sample is a pass. ``ConcreteDropout`` is sampled inside its session, which has the learned rates. Modes, random
    state and the draws of an open session are as before afterwards.

    Args:
        model: from inputs to logits or values [n, outputs]; it is run where its parameters are.
        x: inputs, a tensor or an array, or tensors in dicts and tuples; the first axis is of rows.
        samples: passes of each row, >= 2. The error of the mean falls as ``std / sqrt(samples)``.
        recipe: dropouts to sample with, in any form that :meth:`dashpot.Recipe.coerce` reads. A trained model without
            dropout modules of its own does not keep the techniques that it was trained with: name them here. None: what
            drops in the model, and what is attached.
        targets: ``"classes"`` samples softmax probabilities, ``"multilabel"`` sigmoids, ``"values"`` outputs.
        seed: of the masks.
        batch_size: rows of a pass, copies included, >= 1.

    Raises:
        ConfigError: a number or word that is none of these, or a technique of ``recipe`` that does not drop.
        ConflictError: nothing drops, or a technique finds no place.
        DataError: no rows, or outputs that are not [n, outputs].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
        >>> result = dashpot.mc_predict(model, torch.randn(5, 4), samples=50, recipe="dropout:p=0.5")
        >>> result.mean.shape, bool((result.mutual_information >= 0).all()), bool((result.std > 0).all())
        (torch.Size([5, 3]), True, True)

    Paper: Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016, arXiv 1506.02142.

    When not to use it: for a network that was trained without dropout; as the only measure of uncertainty far from the
    data, where all sub-networks may agree and be wrong.
    """
    sums = Sums(targets)
    for start, answers in passes(model, x, samples, recipe=recipe, targets=targets, seed=seed, batch_size=batch_size):
        sums.add(start, answers)
    return sums.result()


class Sums:
    """Running sums over the answers of passes, so that no more than one pass is held."""

    def __init__(self, targets: str) -> None:
        self.targets = targets
        self.parts: dict[int, list[Tensor]] = {}

    def add(self, start: int, answers: Tensor) -> None:
        """Answers [rows, times, outputs] of the rows from ``start`` on: their number, mean, squares about it, and sum
        of entropies.
        """
        count, mean = answers.shape[1], answers.mean(1)
        square, entropy = (answers - mean[:, None]).square().sum(1), self._entropy(answers).sum(1)
        if start in self.parts:
            before, old_mean, old_square, old_entropy = self.parts[start]
            old = int(before)
            apart, total = mean - old_mean, old + count
            mean = old_mean + apart * count / total
            square, entropy = old_square + square + apart.square() * old * count / total, old_entropy + entropy
            count = total
        self.parts[start] = [torch.tensor(count, device="cpu"), mean, square, entropy]

    def _entropy(self, answers: Tensor) -> Tensor:
        if self.targets == "classes":
            return _entr(answers).sum(-1)
        if self.targets == "multilabel":
            return (_entr(answers) + _entr(1 - answers)).sum(-1)
        return torch.zeros(answers.shape[:-1], dtype=torch.float64, device="cpu")

    def result(self) -> MCResult:
        samples = int(next(iter(self.parts.values()))[0])
        mean, square, entropies = (torch.cat([part[k] for part in self.parts.values()]) for k in (1, 2, 3))
        std = (square / (samples - 1)).sqrt().float()
        if self.targets == "values":
            return MCResult(mean.float(), std, None, None, samples)
        entropy = self._entropy(mean)
        information = (entropy - entropies / samples).clamp(min=0)
        return MCResult(mean.float(), std, entropy.float(), information.float(), samples)


def _entr(p: Tensor) -> Tensor:
    """-p log p, 0 at p = 0."""
    found: Tensor = -torch.special.xlogy(p, p)
    return found
