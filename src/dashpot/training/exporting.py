"""``export``: a trained network as a file for other programs, checked against the network itself."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, ConflictError, StorageError, UsageError
from dashpot.core.files import write_atomic
from dashpot.core.tracing import known_reason, quiet
from dashpot.shrinking.scattered import dense_again
from dashpot.shrinking.shrink import example_arguments
from dashpot.shrinking.timing import rows_like
from dashpot.shrinking.value import flat, mapped
from dashpot.training.export_checks import largest_difference, runtime, times_of

FORMATS = (".onnx", ".pt2", ".safetensors")
OPSET = 18
"""Of ONNX: known to every runtime since 2023."""


@dataclass(frozen=True)
class Exported:
    """A file of a network.

    Attributes:
        path: where it lies.
        format: ``"onnx"``, ``"pt2"`` or ``"safetensors"``.
        bytes: its size.
        opset: of ONNX.
        inputs, outputs: their names in ONNX, in order.
        error: the largest difference to the network's outputs on fresh inputs of 1, 3 and 16 rows, as a share of the
            largest one; 0 for tensors alone.
        milliseconds: by rows of a call the median on one thread, of the network in torch and of the file in ONNX
            Runtime.
        int8: of linear layers in 8 bits the same, or None.
    """

    path: Path
    format: str
    bytes: int
    opset: int | None = None
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    error: float = 0.0
    milliseconds: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    int8: Exported | None = None

    def summary(self) -> str:
        """What was written, how it was checked, and how fast it is."""
        what = f"{self.format}, opset {self.opset}" if self.opset else self.format
        lines = [f"{self.path}: {what}, {self.bytes:,} bytes"]
        if self.format == "safetensors":
            lines.append("  tensors alone: load them into a network of the same shape")
        else:
            lines.append(f"  any number of rows; outputs on fresh inputs differ by {self.error:.1e} of the largest one")
        for rows, (eager, own) in self.milliseconds.items():
            times = f"torch {eager:.4g} ms, ONNX Runtime {own:.4g} ms ({eager / own:.3g}x)"
            lines.append(f"  batch {rows}, one thread: {times}")
        return "\n".join([*lines, *([] if self.int8 is None else [self.int8.summary()])])


def export(model: nn.Module, example_inputs: Any, path: str | Path, *, int8: bool = False) -> Exported:
    """Write a trained network for programs without it, and check the file against it.

    ``.onnx`` (opset 18, any number of rows; run with ONNX Runtime on fresh inputs and compared), ``.pt2``
    (``torch.export``, any number of rows; loaded and compared) or ``.safetensors`` (tensors alone).

    Args:
        model: a network, such as ``dashpot.shrink(...).model``, ``session.export()`` or ``fit(...).model``; unchanged.
        example_inputs: a tensor, a tuple of arguments, or a dict of keyword arguments.
        path: of the file; its ending says the format.
        int8: of ``.onnx``: also write ``NAME.int8.onnx``, in which matrices of linear layers have 8 bits and
            activations are rounded as they come (dynamic quantization); convolutions stay, since they become slower.

    Raises:
        ConfigError: another ending, int8 of another format, or packages of the extra ``onnx`` that are missing.
        ConflictError: a network that torch cannot trace or translate, or a file that gives other outputs.
        StorageError: the file cannot be written.

    Example:
        >>> import tempfile, torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = dashpot.export(model, torch.randn(2, 4), folder + "/model.pt2")
        ...     again = torch.export.load(file.path).module()
        >>> bool(torch.allclose(again(torch.ones(5, 4)), model(torch.ones(5, 4)))), file.error < 1e-6
        (True, True)
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ConfigError("--to", f"a file that ends in {', '.join(FORMATS)}", str(path))
    if int8 and path.suffix != ".onnx":
        raise ConfigError("int8", "left out for other files than .onnx", True)
    if not path.parent.is_dir():
        raise StorageError(f"{path} cannot be written: the folder {path.parent} does not exist.")
    args, kwargs = example_arguments(model, example_inputs)
    args, kwargs = mapped(rows_like(args, kwargs, 2), lambda leaf: leaf.cpu() if isinstance(leaf, Tensor) else leaf)
    # Other programs read no sparse matrices of torch.
    twin = dense_again(copy.deepcopy(model).cpu()).eval().requires_grad_(False)
    if path.suffix == ".safetensors":
        from safetensors.torch import save

        state = {name: t.detach().contiguous().clone() for name, t in twin.state_dict().items()}
        write_atomic(path, save(state))
        return Exported(path, "safetensors", path.stat().st_size)
    if path.suffix == ".pt2":
        return _portable(twin, args, kwargs, path)
    return _onnx(twin, args, kwargs, path, int8)


def _portable(model: nn.Module, args: Any, kwargs: Any, path: Path) -> Exported:
    program = _traced(model, args, kwargs)
    partly = path.with_name(f".{path.stem}.partly.pt2")
    try:
        torch.export.save(program, partly)
        again = torch.export.load(partly).module()
        error = largest_difference(model, lambda given: flat(again(*given[0], **given[1])), args, kwargs)
        partly.replace(path)
    except OSError as failure:
        raise StorageError(f"{path} cannot be written: {failure}") from failure
    finally:
        partly.unlink(missing_ok=True)
    return Exported(path, "pt2", path.stat().st_size, error=error)


def _traced(model: nn.Module, args: Any, kwargs: Any) -> Any:
    batch = torch.export.Dim("batch", min=1)
    try:
        with quiet(), torch.random.fork_rng():
            return torch.export.export(
                model, tuple(args), dict(kwargs), dynamic_shapes=_dynamic(args, kwargs, batch), strict=False
            )
    except Exception as error:  # tracing runs the model's own code
        raise ConflictError(_cannot(model, error)) from error


def _dynamic(args: Any, kwargs: Any, batch: Any) -> Any:
    """Which sizes are of rows, in the shape that torch.export asks for."""
    tensors = [leaf for leaf in flat((args, kwargs)) if isinstance(leaf, Tensor) and leaf.ndim]
    count = tensors[0].shape[0]

    def change(leaf: Any) -> Any:
        return {0: batch} if isinstance(leaf, Tensor) and leaf.ndim and leaf.shape[0] == count else None

    positional, named = mapped((args, kwargs), change)
    return named if not positional else tuple(positional) if not named else (*positional, *named.values())


def _cannot(model: nn.Module, error: Exception) -> str:
    if known := known_reason(model):
        return f"the network cannot be exported: {known} Its tensors can: name a file that ends in .safetensors."
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    why = next((line for line in lines if "Error" in line or "dynamic" in line), lines[0] if lines else "")
    return (
        f"{type(model).__name__} cannot be exported: torch.export does not trace its forward for any number of rows"
        f" ({type(error).__name__}: {why[:300]}). Write it without control flow on values and without fixed numbers of"
        " rows, or export .safetensors."
    )


def _onnx(model: nn.Module, args: Any, kwargs: Any, path: Path, int8: bool) -> Exported:
    _demand_packages()
    import onnx

    program = _traced(model, args, kwargs)
    partly = path.with_name(f".{path.stem}.partly.onnx")
    small = path.with_name(f"{path.stem}.int8.onnx")
    try:
        try:
            with quiet():
                made = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False)
            assert made is not None
            made.save(str(partly), include_initializers=True, external_data=False)
        except Exception as failure:  # whatever a translation of an operation raises
            first = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
            raise ConflictError(
                f"{type(model).__name__} cannot be translated to ONNX: {first[:300]} Export .pt2 in its place."
            ) from failure
        loaded = onnx.load(partly)
        names = [value.name for value in loaded.graph.input], [value.name for value in loaded.graph.output]
        opset = next(entry.version for entry in loaded.opset_import if entry.domain in ("", "ai.onnx"))
        error = largest_difference(model, runtime(partly), args, kwargs)
        times = times_of(model, partly, args, kwargs)
        eight = _eight_bits(model, partly, small, args, kwargs, names) if int8 else None
        partly.replace(path)
    except OSError as failure:
        raise StorageError(f"{path} cannot be written: {failure}") from failure
    finally:
        partly.unlink(missing_ok=True)
    inputs, outputs = names
    return Exported(path, "onnx", path.stat().st_size, opset, inputs, outputs, error, times, eight)


def _eight_bits(model: nn.Module, whole: Path, path: Path, args: Any, kwargs: Any, names: Any) -> Exported:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        # Unsigned: signed weights beside unsigned inputs overflow 16 bits on processors without instructions of their
        # own for eight bits, and answers are wrong by a tenth.
        quantize_dynamic(
            whole, path, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QUInt8, per_channel=True
        )
    error = largest_difference(model, runtime(path), args, kwargs, tolerance=math.inf)
    times = times_of(model, path, args, kwargs)
    size = path.stat().st_size
    return Exported(path, "onnx, linear layers in int8", size, OPSET, names[0], names[1], error, times)


def _demand_packages() -> None:
    missing = []
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise UsageError(f"ONNX needs {', '.join(missing)}: pip install 'dashpot[onnx]', or export .pt2 in its place.")


__all__ = ["Exported", "export"]
