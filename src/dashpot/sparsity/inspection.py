"""What a look at the weights of a model found: as text, as a record, as a figure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from dashpot.core.digits import digits
from dashpot.core.language import aligned, mark, say
from dashpot.core.notebook import table, titled
from dashpot.report.inspect.figure import draw_weights, weights_figure
from dashpot.report.inspect.record import InspectRecord
from dashpot.sparsity.spread import Spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LayerInspection:
    """One weight tensor.

    Attributes:
        norm: the 2-norm of all its values.
        zeros: the share of values that are exactly 0.
        zero_rows, zero_columns: outputs (neurons, filters; tokens of an embedding) and inputs (features, channels;
            dimensions) whose values are all exactly 0, as the groups ``rows`` and ``columns`` have them.
        rows, columns: how many there are.
        rank: the numerical rank (singular values above float precision) of the matrix [outputs, everything else],
            added up where the weight stacks several, or None for matrices that are too large or not finite.
        full_rank: the largest it could be.
        penalty: the recipe's penalty on it, and ``share`` of the whole penalty; None without a recipe.
    """

    name: str
    shape: tuple[int, ...]
    norm: float
    zeros: float
    zero_rows: int
    zero_columns: int
    rows: int
    columns: int
    rank: int | None
    full_rank: int
    penalty: float | None = None
    share: float | None = None
    spread: Spread | None = None


@dataclass(frozen=True)
class Inspection:
    """What :func:`inspect` found; print it.

    Attributes:
        layers: of each weight tensor.
        paths: of each input column its share of all paths to the outputs
            (:func:`~dashpot.sparsity.spread.path_strengths`); None where the network is not of that kind.
        names: of the columns.
    """

    layers: tuple[LayerInspection, ...]
    paths: tuple[float, ...] | None = None
    names: tuple[str, ...] = ()

    @property
    def zeros(self) -> float:
        """The share of exact zeros over all layers."""
        sizes = [torch.Size(layer.shape).numel() for layer in self.layers]
        return sum(layer.zeros * size for layer, size in zip(self.layers, sizes, strict=True)) / max(sum(sizes), 1)

    def to_dict(self) -> list[dict[str, Any]]:
        return [asdict(layer) for layer in self.layers]

    def strongest(self) -> list[tuple[str, float]]:
        """The input columns with their shares of the paths, the strongest first; empty where these are not known."""
        return sorted(zip(self.names, self.paths or (), strict=False), key=lambda pair: -pair[1])

    def details(self, most: int = 20) -> str:
        """As text how the weights are distributed, and the strongest inputs.

        Args:
            most: of the inputs.
        """
        head = (
            say("layer"),
            say("zeros"),
            say("nearly"),
            "5 %",
            "25 %",
            say("median"),
            "75 %",
            "95 %",
            say("kurtosis"),
        )
        rows = [
            (
                layer.name,
                f"{layer.zeros:.1%}",
                f"{layer.spread.near_zeros:.1%}",
                *(digits(value) for value in layer.spread.quantiles[1:-1]),
                f"{layer.spread.kurtosis:.3g}",
            )
            for layer in self.layers
            if layer.spread is not None
        ]
        parts = ["\n".join(aligned([head, *rows]))]
        if self.paths is not None:
            shown = [(name, f"{share:.1%}") for name, share in self.strongest()[:most]]
            unreached = sum(share == 0 for share in self.paths)
            parts.append("\n".join(aligned([(say("input"), say("share of all paths")), *shown])))
            left = say("{n} of {many} inputs reach no output", n=unreached, many=len(self.paths))
            parts += [left] if unreached else []
        return "\n\n".join(parts)

    def record(self, name: str = "model") -> InspectRecord:
        """What is written as JSON."""
        return InspectRecord(name, tuple(self.to_dict()), self.paths, self.names)

    def figure(self, beside: Inspection | None = None, title: str = "the model", other: str = "the other") -> Figure:
        """The figure of :meth:`plot` as matplotlib's, which a notebook shows and ``savefig`` writes."""
        return draw_weights(self.record(title), None if beside is None else beside.record(other))

    def plot(
        self, stem: str | Path, beside: Inspection | None = None, title: str = "the model", other: str = "the other"
    ) -> tuple[Path, Path]:
        """Write ``stem.png`` and ``stem.svg``: a histogram of each layer's weights, and the strongest inputs.

        Args:
            stem: the path without its ending.
            beside: of another model with the same layers, such as one without a penalty.
            title, other: what the two are called.

        Raises:
            StorageError: a file could not be written.
        """
        return weights_figure(self.record(title), stem, None if beside is None else beside.record(other))

    def __str__(self) -> str:
        return "\n".join(aligned([self._head(), *self._cells()]))

    def _repr_html_(self) -> str:
        title = say("{share:.1%} of all weights are exactly zero", share=self.zeros)
        return titled(title, table(self._head(), self._cells()))

    _HEAD: ClassVar[tuple[str, ...]] = (
        mark("layer"),
        mark("shape"),
        mark("norm"),
        mark("zeros"),
        mark("zero rows"),
        mark("zero columns"),
        mark("rank"),
        mark("penalty"),
        mark("share"),
    )

    def _head(self) -> list[str]:
        return [say(name) for name in self._HEAD]

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (
                layer.name,
                " x ".join(map(str, layer.shape)),
                f"{layer.norm:.4g}",
                f"{layer.zeros:.1%}",
                say("{n} of {many}", n=layer.zero_rows, many=layer.rows),
                say("{n} of {many}", n=layer.zero_columns, many=layer.columns),
                "-" if layer.rank is None else say("{n} of {many}", n=layer.rank, many=layer.full_rank),
                "-" if layer.penalty is None else f"{layer.penalty:.4g}",
                "-" if layer.share is None else f"{layer.share:.0%}",
            )
            for layer in self.layers
        ]
