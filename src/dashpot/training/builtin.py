"""The built-in network of a problem: trained on a split, and scored on its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dashpot import nets
from dashpot.core.recipe import Recipe
from dashpot.core.rng import initial_weights
from dashpot.data import Prepared, Problem, Split
from dashpot.data.kinds import KINDS, Prepares
from dashpot.data.texts.preprocessing import TextPreprocessing
from dashpot.data.texts.tokenized import Tokenized
from dashpot.evaluation.losses import scores
from dashpot.nets import TextConv, TextEncoder, TextFeatures
from dashpot.nets.text_vectors import start_from
from dashpot.training.defaults import FEWEST_EPOCHS, FINE_TUNED, LARGEST, MOST_EPOCHS, batch_size_for, epochs_for
from dashpot.training.loop import FitResult, fit
from dashpot.training.versions import TTA


@dataclass(frozen=True)
class TrainingLength:
    """How long to train, in what batches, at which learning rate.

    Attributes:
        epochs: at most; None, with a budget: as many as there is time for.
        batch_size: rows per optimizer step.
        lr: of AdamW, at its highest.
        schedule: of the learning rate, by a name that :func:`dashpot.fit` knows.
        budget: seconds at most, or text such as ``"10m"``; None has no end.
        lr_decay: of a network that was trained before, as in :func:`dashpot.fit`.
    """

    epochs: int | None
    batch_size: int
    lr: float = 1e-3
    schedule: str = "cosine"
    budget: str | float | None = None
    lr_decay: float = 1.0

    @staticmethod
    def default(
        kind: str,
        rows: int,
        epochs: int | None = None,
        budget: str | float | None = None,
        *,
        pretrained: bool = False,
    ) -> TrainingLength:
        """About 3,000 steps for tables and 1,000 for images, in 10 to 100 epochs; with a budget as many as it allows.

        Args:
            kind: of the data.
            rows: to train on.
            epochs, budget: where they are asked for.
            pretrained: the network is an encoder that is trained further, for which few epochs are enough.
        """
        usual = KINDS[kind]
        batch_size = usual.batch_size or batch_size_for(rows, largest=LARGEST)
        if epochs is None and budget is None:
            epochs = (
                min(FEWEST_EPOCHS, max(FINE_TUNED, round(usual.steps * batch_size / (4 * rows))))
                if pretrained
                else epochs_for(rows, batch_size, steps=usual.steps, most=MOST_EPOCHS)
            )
        return TrainingLength(epochs, batch_size, usual.lr, usual.schedule, budget)


def built_in(how: Prepares, shape: Sequence[int], outputs: int, **options: Any) -> nets.Net:
    """A built-in network with random weights and the tables of its data; one of convolutions over words starts from the
    vectors of words that the user has, and is as wide as they are, or from those that its texts teach. Where there
    is an encoder, the network over its vectors is the default, or the encoder itself where it is trained further.

    Args:
        how: the data are prepared.
        shape: of one row.
        options: of the network.

    Raises:
        ConfigError: a value that the network does not allow.
    """
    vectors = how.vectors if isinstance(how, TextPreprocessing) else None
    known = {**how.sizes, **options}
    if isinstance(how, TextPreprocessing) and how.before:
        known.setdefault("net", (TextEncoder if isinstance(how.encoded, Tokenized) else TextFeatures).__name__)
    if vectors is not None and str(known.get("net", TextConv.__name__)).lower() == TextConv.__name__.lower():
        known.setdefault("width", vectors.width)
    network = nets.build(how.kind, shape, outputs, **known)
    how.ready(network)
    if isinstance(how, TextPreprocessing) and isinstance(network, TextConv):
        start = how.own_vectors if vectors is None else vectors
        if start is not None:
            start_from(network, how.lexicon, start, frozen=start.frozen)
    return network


def network_for(problem: Problem, prepared: Prepared) -> nets.Net:
    """The built-in network for prepared data, with random weights; it takes them as they are held."""
    return built_in(prepared.preprocessing, prepared.x.shape[1:], max(len(problem.classes), 1))


def train(
    problem: Problem,
    prepared: Prepared,
    split: Split,
    recipe: Recipe,
    length: TrainingLength,
    *,
    seed: int,
    device: str = "auto",
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: bool = True,
    before: Callable[[nn.Module], None] = lambda network: None,
    tta: TTA | None = None,
    make: Callable[[], nn.Module] | None = None,
    log: Any = None,
    wrapped: Callable[[nn.Module], nn.Module] = lambda network: network,
) -> FitResult:
    """Train the built-in network for ``problem`` on a split; the initial weights depend on the seed only.

    Args:
        problem, prepared, split: the data, prepared with the split's training rows.
        recipe: the techniques.
        length: epochs or time, batch size, learning rate and its schedule.
        seed, device, checkpoint, resume, progress, log: as in :func:`dashpot.fit`.
        before: called with the network before it is trained.
        tta: as in :func:`dashpot.fit`.
        make: a network that takes the place of the built-in one.
        wrapped: the network as its ranks train it.
    """
    with initial_weights(seed):
        network: nn.Module = network_for(problem, prepared) if make is None else make()
    before(network)
    return fit(
        wrapped(network),
        prepared.subset(split.train),
        valid=prepared.subset(split.valid),
        recipe=recipe,
        epochs=length.epochs,
        budget=length.budget,
        batch_size=length.batch_size,
        lr=length.lr,
        lr_decay=length.lr_decay,
        schedule=length.schedule,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
        modality=prepared.modality,
        tta=tta,
        log=log,
    )


def split_scores(network: nn.Module, prepared: Prepared, split: Split) -> dict[str, dict[str, float]]:
    """Scores on training, validation and test rows, by weight; RMSE in the target's own units."""
    parts = {"train": split.train, "valid": split.valid, "test": split.test}
    return {
        name: in_units(scores(network, x, y, weight=weight[0] if weight else None), prepared)
        for name, (x, y, *weight) in ((name, prepared.subset(rows)) for name, rows in parts.items())
    }


def in_units(measured: dict[str, float], prepared: Prepared) -> dict[str, float]:
    """RMSE times the scale that the target was divided by."""
    return {name: value * prepared.target.scale if name == "rmse" else value for name, value in measured.items()}


def exact_zeros(network: nn.Module) -> tuple[float, dict[str, float]]:
    """The share of weights (matrices and filters) that are exactly 0.0, in all and per layer."""
    weights = {name: p for name, p in network.named_parameters() if p.ndim > 1}
    total = sum(int((p == 0).sum()) for p in weights.values()) / max(sum(p.numel() for p in weights.values()), 1)
    return total, {name: float((p == 0).double().mean()) for name, p in weights.items()}
