"""What images.py measures: one network trained on images with flip, crop and colour, by us, by the tutorials' loop, and
by a loop tuned by hand. All arms start from the same weights and take the same batches' size, optimizer and schedule.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from augment_peers import torchvision_v2
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

import dashpot
from dashpot import nets

BATCH, LR, JITTER, PADDING, SIZE = 64, 6e-3, 0.2, 4, 32
RECIPE = (
    dashpot.augment.HorizontalFlip(0.5)
    | dashpot.augment.RandomCrop(padding=PADDING)
    | dashpot.augment.ColorJitter(JITTER)
)
GREY = (0.299, 0.587, 0.114)


class Data:
    """Images to train on and to test, bytes [n, 3, 32, 32], with their classes and their channels' statistics."""

    def __init__(self, x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, what: str) -> None:
        self.train, self.test, self.what = (x, y), (x_test, y_test), what
        pixels = x.float().div_(255)
        self.mean, self.std = (found.tolist() for found in (pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))))
        self.classes = int(y.max()) + 1

    @staticmethod
    def read(path: Any) -> Data:
        """Of a file with X_train [n, 32, 32, 3], y_train, X_test and y_test; without one smooth patterns and noise."""
        if path is not None:
            held = np.load(path)
            parts = [torch.from_numpy(held[name]) for name in ("X_train", "y_train", "X_test", "y_test")]
            x, y, x_test, y_test = (p.permute(0, 3, 1, 2).contiguous() if p.ndim == 4 else p.long() for p in parts)
            return Data(x, y, x_test, y_test, path.stem)
        g = torch.Generator().manual_seed(0)
        y = torch.arange(6500) % 10
        coarse = torch.rand(10, 3, 6, 6, generator=g)[y] + 0.8 * torch.randn(len(y), 3, 6, 6, generator=g)
        x = nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic").clamp(0, 1).mul(255).to(torch.uint8)
        return Data(x[:5000], y[:5000], x[5000:], y[5000:], "made-up images")

    def part(self, rows: int | None) -> Data:
        """The first ``rows`` to train on, and as large a part of those to test."""
        share = 1.0 if rows is None else rows / len(self.train[0])
        (x, y), (x_test, y_test) = ([p[: round(share * len(p))] for p in some] for some in (self.train, self.test))
        return Data(x, y, x_test, y_test, self.what)


class Plain(nn.Module):
    """The layers of the built-in network for 32 x 32, written down as in a tutorial."""

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        for inputs in (width, 2 * width):
            outputs = 2 * inputs
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.MaxPool2d(2)]
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def networks(data: Data, seed: int) -> tuple[nn.Module, Plain]:
    """Ours and the plain one, with the same weights."""
    torch.manual_seed(seed)
    own = nets.build("image", (3, SIZE, SIZE), data.classes, mean=data.mean, std=data.std)
    plain = Plain(data.classes)
    with torch.no_grad():
        for there, here in zip(plain.parameters(), own.parameters(), strict=True):
            there.copy_(here)
    return own, plain


def one_cycle(progress: float) -> float:
    """The schedule of all arms: up in a quarter of the steps, then down to zero."""
    return progress / 0.25 if progress < 0.25 else (1 - progress) / 0.75


class Ours:
    """``dashpot.fit``, or the steps of a session."""

    def __init__(self, data: Data, workers: int = 0) -> None:
        self.data = data

    def train(self, seed: int, epochs: int) -> float:
        network, _ = networks(self.data, seed)
        settings = {"batch_size": BATCH, "lr": LR, "schedule": "one-cycle", "modality": "image", "progress": False}
        result = dashpot.fit(
            network, self.data.train, valid=self.data.test, recipe=RECIPE, epochs=epochs, seed=seed, **settings
        )
        return result.history[-1]["val_accuracy"]

    def stepper(self, steps: int) -> Callable[[], None]:
        network, (x, y) = networks(self.data, 0)[0].train(), self.data.train
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
        session = RECIPE.attach(network, optimizer, classes=self.data.classes, modality="image")
        batches = _forever(lambda: torch.randperm(len(x)).split(BATCH))

        def run() -> None:
            for rows in itertools.islice(batches, steps):
                batch = session.batch(x[rows], y[rows])
                session.loss(cross_entropy, network(batch.x)).backward()
                optimizer.step()
                optimizer.zero_grad()

        return run


def _forever(epoch: Callable[[], Any]) -> Iterator[Any]:
    while True:
        yield from epoch()


class _Pictures(Dataset[Any]):
    """Pillow's images with their classes, as torchvision's data sets give them."""

    def __init__(self, x: Tensor, y: Tensor, transform: Callable[[Any], Tensor]) -> None:
        from PIL import Image

        self.images = [Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in x]
        self.y, self.transform = y.tolist(), transform

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.y[index]


class Tutorial:
    """Transforms of torchvision for one image after another in a DataLoader, float32, NCHW."""

    def __init__(self, data: Data, workers: int = 0) -> None:
        v2 = torchvision_v2()
        last = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(data.mean, data.std)]
        first = [
            v2.RandomHorizontalFlip(),
            v2.RandomCrop(SIZE, padding=PADDING, padding_mode="reflect"),
            v2.ColorJitter(JITTER, JITTER, JITTER),
        ]
        sets = _Pictures(*data.train, v2.Compose([*first, *last])), _Pictures(*data.test, v2.Compose(last))
        self.loader = DataLoader(sets[0], BATCH, shuffle=True, num_workers=workers)
        self.test, self.data = DataLoader(sets[1], BATCH, num_workers=workers), data

    def train(self, seed: int, epochs: int) -> float:
        model = networks(self.data, seed)[1]
        optimizer, accuracy = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0), 0.0
        total = epochs * len(self.loader)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / total))
        for _ in range(epochs):
            model.train()
            for x, y in self.loader:
                _step(model, optimizer, x, y)
                scheduler.step()
            model.eval()
            hits = 0
            with torch.no_grad():
                for x, y in self.test:
                    hits += (model(x).argmax(1) == y).sum().item()
            accuracy = hits / len(self.data.test[1])
        return accuracy

    def stepper(self, steps: int) -> Callable[[], None]:
        model = networks(self.data, 0)[1].train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
        batches = _forever(lambda: self.loader)

        def run() -> None:
            for x, y in itertools.islice(batches, steps):
                _step(model, optimizer, x, y)

        return run


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    cross_entropy(model(x), y).backward()
    optimizer.step()


class ByHand:
    """Channels last, bytes padded once and held in memory, a batch augmented by a few calls, a fused optimizer, and
    bfloat16 where the processor multiplies it.
    """

    def __init__(self, data: Data, workers: int = 0) -> None:
        self.data = data
        padded = nn.functional.pad(data.train[0].float(), (PADDING,) * 4, mode="reflect").to(torch.uint8)
        self.padded = padded.permute(0, 2, 3, 1).contiguous()
        self.mean, self.std = torch.tensor(data.mean), torch.tensor(data.std)
        test = (data.test[0].permute(0, 2, 3, 1) / 255 - self.mean) / self.std
        self.test = test.permute(0, 3, 1, 2)
        self.bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()

    def batch(self, rows: Tensor) -> Tensor:
        """Each image flipped, cropped and coloured by numbers of its own, standardized: floats, channels last."""
        n, side = len(rows), torch.arange(SIZE)
        top, left = torch.randint(2 * PADDING + 1, (2, n, 1))
        across = torch.where(torch.rand(n, 1) < 0.5, side, SIZE - 1 - side)
        x = self.padded[rows[:, None, None], (top + side)[:, :, None], (left + across)[:, None, :]]
        pixels = x.view(n, SIZE * SIZE, 3).float().mul_(1 / 255)
        light, flat, pale = 1 + JITTER * (2 * torch.rand(3, n, 1, 1) - 1)
        grey = torch.tensor(GREY)
        offset = (1 - flat) * light * (pixels.mean(1, keepdim=True) * grey).sum(2, keepdim=True)
        matrix = light * flat * (pale * torch.eye(3) + (1 - pale) * grey[:, None])
        out = torch.baddbmm(offset.expand(n, 1, 3), pixels, matrix).clamp_(0, 1).sub_(self.mean).div_(self.std)
        return out.view(n, SIZE, SIZE, 3).permute(0, 3, 1, 2)

    def _model(self, seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        model = networks(self.data, seed)[1].to(memory_format=torch.channels_last)
        return model, torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0, fused=True)

    def _epoch(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, batches: Sequence[Tensor], rates: Sequence[float]
    ) -> None:
        for rows, rate in zip(batches, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                loss = cross_entropy(model(self.batch(rows)), self.data.train[1][rows])
            loss.backward()
            optimizer.step()

    def train(self, seed: int, epochs: int) -> float:
        (model, optimizer), accuracy = self._model(seed), 0.0
        rows, per_epoch = len(self.padded), -(-len(self.padded) // BATCH)
        for epoch in range(epochs):
            model.train()
            rates = [LR * one_cycle((epoch + k / per_epoch) / epochs) for k in range(per_epoch)]
            self._epoch(model, optimizer, torch.randperm(rows).split(BATCH), rates)
            model.eval()
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                found = torch.cat([model(x).argmax(1) for x in self.test.split(256)])
            accuracy = (found == self.data.test[1]).float().mean().item()
        return accuracy

    def stepper(self, steps: int) -> Callable[[], None]:
        (model, optimizer), batches = self._model(0), _forever(lambda: torch.randperm(len(self.padded)).split(BATCH))
        model.train()
        return lambda: self._epoch(model, optimizer, list(itertools.islice(batches, steps)), [1e-3] * steps)


ARMS: dict[str, Any] = {"dashpot": Ours, "tutorial": Tutorial, "by hand": ByHand}
