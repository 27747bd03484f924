"""Small networks of many kinds, and units of theirs that exact zeros make empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot import nets


class Residual(nn.Module):
    """A stream, a branch with batch norm, and a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 14, 3, padding=1)
        self.first, self.norm = nn.Conv2d(14, 20, 3, padding=1, bias=False), nn.BatchNorm2d(20)
        self.second = nn.Conv2d(20, 14, 3, padding=1)
        self.depthwise, self.head = nn.Conv2d(14, 14, 3, padding=1, groups=14), nn.Linear(14 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.second(self.norm(self.first(x)).relu())).relu()
        return self.head(functional.max_pool2d(self.depthwise(x), 2).flatten(1))


class Dense(nn.Module):
    """Each layer reads all before, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        sizes = [16 + 14 * i for i in range(3)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(n), nn.ReLU(), nn.Conv2d(n, 14, 3, padding=1, bias=False)) for n in sizes
        )
        self.head = nn.Linear(16 + 42, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(x.mean((2, 3)))


class UNet(nn.Module):
    """Down and up again, by a transposed convolution and a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.low = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.up, self.join = nn.ConvTranspose2d(32, 16, 2, stride=2), nn.Conv2d(32, 16, 3, padding=1)
        self.out = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        high = self.down(x).relu()
        low = self.up(self.low(functional.max_pool2d(high, 2)).relu()).relu()
        return self.out(self.join(torch.cat([high, low], 1)).relu())


class Mobile(nn.Module):
    """An inverted residual with squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 48, 1), nn.BatchNorm2d(48)
        self.depthwise = nn.Conv2d(48, 48, 3, padding=1, groups=48, bias=False)
        self.norm2, self.narrow = nn.BatchNorm2d(48), nn.Conv2d(48, 16, 1)
        self.squeeze, self.excite, self.head = nn.Conv2d(48, 16, 1), nn.Conv2d(16, 48, 1), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = functional.relu6(self.norm(self.wide(x)))
        y = functional.hardswish(self.norm2(self.depthwise(y)))
        gate = self.excite(functional.relu(self.squeeze(functional.adaptive_avg_pool2d(y, 1)))).sigmoid()
        return self.head((x + self.narrow(y * gate)).mean((2, 3)))


class Gated(nn.Module):
    """A gated linear unit behind a layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.both, self.out = nn.LayerNorm(8), nn.Linear(8, 40), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.both(self.norm(x)).chunk(2, -1)
        return self.out(one * other.sigmoid())


class Attention(nn.Module):
    """A block written by hand, with embeddings and positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.place = nn.Embedding(30, 16), nn.Parameter(torch.randn(1, 7, 16))
        self.qkv, self.join = nn.Linear(16, 48), nn.Linear(16, 16)
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.wide, self.narrow, self.head = nn.Linear(16, 64), nn.Linear(64, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x) + self.place
        b, t, d = h.shape
        q, k, v = (part.view(b, t, 4, 4).transpose(1, 2) for part in self.qkv(self.norm1(h)).chunk(3, -1))
        heads = functional.scaled_dot_product_attention(q, k, v)
        h = h + self.join(heads.transpose(1, 2).reshape(b, t, d))
        return self.head((h + self.narrow(functional.gelu(self.wide(self.norm2(h))))).mean(1))


class Tied(nn.Module):
    """An embedding whose matrix is the head's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.body, self.head = nn.Embedding(11, 6), nn.Linear(6, 6), nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.embedding(x)).relu())


class Groups(nn.Module):
    """Two convolutions in four groups, with a shuffle between them whose sizes come from tensors."""

    def __init__(self, shuffled: bool = False, padding: int = 0, width: int = 1) -> None:
        super().__init__()
        self.shuffled = shuffled
        self.stem = nn.Conv2d(2, 16 * width, 1)
        self.one = nn.Conv2d(16 * width, 24 * width, 3, groups=4, padding=padding)
        self.two, self.head = nn.Conv2d(24 * width, 8, 1, groups=4), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(self.stem(x).relu()).relu()
        if self.shuffled:
            x = x.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2)
        return self.head(self.two(x).relu())


class Root(nn.Module):
    """A stream of features normalized by their root of mean squares."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.last = nn.Linear(4, 12), nn.RMSNorm(12, eps=1e-3), nn.RMSNorm(12)
        self.wide, self.narrow, self.head = nn.Linear(12, 20), nn.Linear(20, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.narrow(self.wide(self.norm(x)).relu())
        return self.head(self.last(x))


class Tagger(nn.Module):
    """A recurrent layer between two linear ones."""

    def __init__(self, kind: Any = nn.LSTM, inputs: int = 10, **options: Any) -> None:
        super().__init__()
        self.stem, self.layer = nn.Linear(3, inputs), kind(inputs, 12, batch_first=True, **options)
        wide = options.get("proj_size", 12) * (2 if options.get("bidirectional") else 1)
        self.head = nn.Linear(wide, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.stem(x).relu())[0])


def perceptron() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 14), nn.Tanh(), nn.Linear(14, 3))
    )


ZOO: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "perceptron": (perceptron, lambda: torch.randn(4, 6)),
    "residual": (Residual, lambda: torch.randn(2, 3, 8, 8)),
    "dense": (Dense, lambda: torch.randn(2, 3, 8, 8)),
    "unet": (UNet, lambda: torch.randn(2, 3, 8, 8)),
    "mobile": (Mobile, lambda: torch.randn(2, 3, 8, 8)),
    "gated": (Gated, lambda: torch.randn(4, 8)),
    "attention": (Attention, lambda: torch.randint(30, (2, 7))),
    "encoder": (lambda: nn.TransformerEncoderLayer(16, 4, 64, batch_first=True), lambda: torch.randn(2, 5, 16)),
    "in groups": (lambda: Groups(width=4), lambda: torch.randn(2, 2, 6, 6)),
    "root": (Root, lambda: torch.randn(4, 4)),
    "recurrent": (lambda: Tagger(inputs=16), lambda: torch.randn(2, 5, 3)),
    "gated recurrent": (lambda: Tagger(nn.GRU, inputs=16), lambda: torch.randn(2, 5, 3)),
    "recurrent both ways": (lambda: Tagger(inputs=16, bidirectional=True), lambda: torch.randn(2, 5, 3)),
    "ours for images": (lambda: nets.build("image", (3, 16, 16), 3), lambda: torch.rand(2, 3, 16, 16)),
    "ours with branches": (
        lambda: nets.build("image", (3, 16, 16), 3, residual=True, se=True),
        lambda: torch.rand(2, 3, 16, 16),
    ),
    "ours for signals": (lambda: nets.build("signal", (1, 40), 3), lambda: torch.rand(2, 1, 40)),
    "ours for tables": (lambda: nets.build("table", (10,), 3), lambda: torch.rand(4, 10)),
}
"""What makes the network, and an example."""
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


def planted(make: Callable[[], nn.Module], seed: int, share: float = 0.4) -> nn.Module:
    """A network in evaluation mode some of whose units have only zeros; in each second of them the bias is zero, too,
    and statistics and shifts of batch norm are not.
    """
    torch.manual_seed(seed)
    model, draw = make(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, NORMS):
                module.running_mean.normal_(generator=draw)
                module.running_var.uniform_(0.5, 2, generator=draw)
                module.bias.normal_(generator=draw)
            if isinstance(module, LAYERS):
                weight = module.weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else module.weight
                empty = torch.rand(len(weight), generator=draw) < share
                if len(weight) > 12:
                    weight[empty] = 0
                    if module.bias is not None and seed % 2:
                        module.bias[empty] = 0
    return model.eval()


class Heads(nn.Module):
    """Attention that can do with fewer heads."""

    def __init__(self, width: int = 16, size: int = 4, fixed: bool = False) -> None:
        super().__init__()
        self.size, self.fixed = size, fixed
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.join, self.wide, self.narrow = nn.Linear(width, width), nn.Linear(width, 32), nn.Linear(32, width)

    def forward(self, x: Tensor) -> Tensor:
        count = 4 if self.fixed else -1
        q, k, v = (
            part(x).view(*x.shape[:2], count, self.size).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        heads = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.join(heads)
        return x + self.narrow(functional.gelu(self.wide(x)))


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def close(one: Tensor, other: Tensor, share: float) -> bool:
    one, other = one.detach(), other.detach()
    return float((one - other).abs().max()) <= share * float(one.abs().max())
