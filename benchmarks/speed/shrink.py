"""What shrinking gains: a network with empty units, the one that ``dashpot.shrink`` makes of it, and one that was built
at that width.

Half and nine tenths of the units of every hidden layer are zero. Arms in turn in one process, one thread, batch 1 and
64; ratios are the dense network's time over the shrunk one's, over that of the shrunk one as an ONNX file in ONNX
Runtime, and the shrunk one's over the one built narrow. Seconds of the call itself are given too. *Scattered*: 90 and
95 % of single weights are zero, so that no unit is empty, and layers become sparse matrices where they are faster so.

Run: ``python benchmarks/speed/shrink.py [--rounds 9] [--busy]``
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import interleave, options, write_result

import dashpot


def perceptron(width: int = 1024) -> nn.Module:
    layers: list[nn.Module] = []
    for a, b in ((256, width), (width, width), (width, width)):
        layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


class Block(nn.Module):
    """A residual block; the stream is as wide as in the dense network only where it says so."""

    def __init__(self, inputs: int, outputs: int, inner: int, stride: int) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(inputs, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.second, self.norm2 = nn.Conv2d(inner, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.short = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.second(functional.relu(self.norm1(self.first(x)))))
        return functional.relu(y + self.short(x))


class ResNet18(nn.Module):
    """Its shape, for images of 32 pixels and more."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        sizes = [width, width, 2 * width, 4 * width, 8 * width]
        self.stem, self.norm = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        blocks = []
        for k in range(4):
            blocks += [Block(sizes[k], sizes[k + 1], sizes[k + 1], 1 if k == 0 else 2)]
            blocks += [Block(sizes[k + 1], sizes[k + 1], sizes[k + 1], 1)]
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(sizes[4], 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(functional.relu(self.norm(self.stem(x)))).mean((2, 3)))


class Recurrent(nn.Module):
    """One layer of LSTM over 32 steps of 64 numbers."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(64, width, batch_first=True), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


NETS: dict[str, tuple[Callable[[int], nn.Module], int, tuple[int, ...]]] = {
    "MLP 3 x 1024 with batch norm": (perceptron, 1024, (256,)),
    "ResNet-18's shape, 32 pixels": (ResNet18, 64, (3, 32, 32)),
    "LSTM of 256, 32 steps": (Recurrent, 256, (32, 64)),
}


def emptied(model: nn.Module, share: float) -> nn.Module:
    """The last ``share`` of the units of every layer but the head are zero, shift and scale of its norm included."""
    with torch.no_grad():
        for name, module in model.named_modules():
            if (
                isinstance(module, nn.Linear | nn.Conv2d)
                and name.split(".")[-1] != "head"
                and module.weight.shape[0] > 10
            ):
                module.weight[round(len(module.weight) * (1 - share)) :] = 0
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for part in (module.weight, module.bias):
                    part[round(len(part) * (1 - share)) :] = 0
            if isinstance(module, nn.LSTM):
                for part in module.parameters():
                    for gate in part.chunk(4):
                        gate[round(len(gate) * (1 - share)) :] = 0
            if isinstance(module, nn.Linear) and module.weight.shape[0] > 10:
                module.bias[round(len(module.bias) * (1 - share)) :] = 0
    return model.eval()


def scattered(model: nn.Module, share: float) -> nn.Module:
    """So many single weights of every layer but the first and the head are zero."""
    with torch.no_grad():
        for module in list(model.modules())[2:-1]:
            if isinstance(module, nn.Linear):
                module.weight.mul_(torch.rand_like(module.weight) > share)
    return model.eval()


def in_onnx_runtime(model: nn.Module, shape: tuple[int, ...]) -> Callable[[Tensor], Any]:
    """The network as a file, called on one thread."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        file = dashpot.export(model, torch.randn(2, *shape), Path(folder) / "model.onnx").path
        told = onnxruntime.SessionOptions()
        told.intra_op_num_threads = told.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(file.read_bytes(), told, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x.numpy()})


def measured(arms: dict[str, Callable[[Tensor], Any]], shape: tuple[int, ...], rounds: int, clock: Any) -> Any:
    """Of each batch the ratios of the first arm's time, medians over rounds."""
    found = {}
    for batch in (1, 64):
        x = torch.randn(batch, *shape)
        bound = {name: (lambda net=net, x=x: net(x)) for name, net in arms.items()}
        with torch.inference_mode():
            times = interleave(bound, rounds, clock=clock)

        def over(one: str, other: str, t: dict[str, list[float]] = times) -> float:
            return statistics.median(a / b for a, b in zip(t[one], t[other], strict=True))

        found[f"batch {batch}"] = {f"dense to {name}": over("dense", name) for name in arms if name != "dense"}
        if "built narrow" in arms:
            found[f"batch {batch}"]["shrunk to built narrow"] = over("shrunk", "built narrow")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--busy", action="store_true", help="count processor time, beside other work")
    args = options(parser)
    torch.set_num_threads(1)
    clock = time.process_time if args.busy else time.perf_counter
    found: dict[str, Any] = {}
    for name, (make, width, shape) in NETS.items():
        for share in (0.5, 0.9):
            torch.manual_seed(0)
            dense = emptied(make(width), share)
            started = clock()
            shrunk = dashpot.shrink(dense, torch.randn(2, *shape))
            seconds = clock() - started
            narrow = make(round(width * (1 - share))).eval()
            found[f"{name}, {share:.0%} empty"] = {
                "parameters": [shrunk.before.parameters, shrunk.after.parameters],
                "seconds of the call": seconds,
                "largest difference of outputs": shrunk.error,
                **measured(
                    {
                        "dense": dense,
                        "shrunk": shrunk.model,
                        "built narrow": narrow,
                        "shrunk in ONNX Runtime": in_onnx_runtime(shrunk.model, shape),
                    },
                    *(shape, args.rounds, clock),
                ),
            }
    make, width, shape = NETS["MLP 3 x 1024 with batch norm"]
    for share in (0.9, 0.95):
        torch.manual_seed(0)
        dense = scattered(make(width), share)
        shrunk = dashpot.shrink(dense, torch.randn(2, *shape), sparse=True)
        found[f"MLP 3 x 1024 with batch norm, {share:.0%} scattered zeros"] = {
            "parameters": [shrunk.before.parameters, shrunk.after.parameters],
            "layers that became sparse": len(shrunk.plan.sparse),
            "largest difference of outputs": shrunk.error,
            **measured({"dense": dense, "shrunk": shrunk.model}, shape, args.rounds, clock),
        }
    write_result("shrink-speed", {"what": __doc__.split("\n")[0], "clock": clock.__name__, "nets": found}, args.result)


if __name__ == "__main__":
    main()
