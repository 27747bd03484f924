"""Heads that are replaced, stages that are frozen, and learning rates by stage."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dashpot


def block(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())


class Residual(nn.Module):
    """As torchvision's networks are built: a stem, stages, and ``fc``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.layer1, self.layer2 = nn.Sequential(block(8), block(8)), nn.Sequential(block(8), nn.Dropout(0.5))
        self.fc = nn.Linear(8, 1000)
        self.unused = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.layer2(self.layer1(self.bn1(self.conv1(x)))).mean(dim=(2, 3)))
        return out


class Transformer(nn.Module):
    """Tokens in front of blocks in a list, and ``head``, which other layers follow in the order of their names."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.embed = nn.Linear(4, 4)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(3))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 10)
        self.auxiliary = nn.Linear(4, 10)


def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(24, 3, 8, 8), torch.arange(24) % 3


class TestReplaceHead:
    @pytest.mark.parametrize(
        ("model", "where", "kind"),
        [
            (Residual(), "fc", nn.Linear),
            (Transformer(), "head", nn.Linear),
            (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 9, bias=False), nn.Dropout()), "2", nn.Linear),
            (
                nn.ModuleDict({"a": nn.Linear(2, 2), "classifier": nn.Sequential(nn.Linear(2, 7), nn.ReLU())}),
                "classifier.0",
                nn.Linear,
            ),
            (
                nn.ModuleDict({"classifier": nn.Sequential(nn.Dropout(), nn.Conv2d(8, 7, 1), nn.ReLU())}),
                "classifier.1",
                nn.Conv2d,
            ),
        ],
    )
    def test_the_last_layer_has_so_many_outputs(self, model: nn.Module, where: str, kind: Any) -> None:
        model = copy.deepcopy(model).double().eval()
        rest = {name: p.clone() for name, p in model.named_parameters() if not name.startswith(where)}
        before: Any = dict(model.named_modules())[where]
        old = dashpot.replace_head(model, 5)
        new: Any = dict(model.named_modules())[where]
        assert old is before
        assert type(new) is kind
        assert len(new.weight) == 5
        assert new.weight.shape[1:] == before.weight.shape[1:]
        assert new.weight.dtype == torch.float64
        assert (new.bias is None) == (before.bias is None)
        assert not new.training
        assert all(torch.equal(p, rest[name]) for name, p in model.named_parameters() if not name.startswith(where))

    def test_refusals(self) -> None:
        for model, message in (
            (nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 3)), "ends with a linear or convolutional layer, got .*LSTM"),
            (nn.Flatten(), "ends with no parameters"),
            (nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Identity()}), "whose head holds .*head, a Identity"),
        ):
            with pytest.raises(dashpot.ConfigError, match=message):
                dashpot.replace_head(model, 2)
        own = Residual()
        with pytest.raises(dashpot.ConfigError, match="outputs must be a whole number >= 1"):
            dashpot.replace_head(own, 0)
        with pytest.raises(dashpot.ConfigError, match="Did you mean 'fc'"):
            dashpot.replace_head(own, 2, name="fcc")
        with pytest.raises(dashpot.ConfigError, match="linear or convolutional layer, got 'bn1, a BatchNorm2d'"):
            dashpot.replace_head(own, 2, name="bn1")
        dashpot.replace_head(own, 2, name="layer1.1.0")
        assert own.layer1[1][0].out_channels == 2  # type: ignore[index]  # a Sequential of them


class TestFreeze:
    @pytest.mark.parametrize("recipe", [None, "l1:strength=0.01 | weight-decay:strength=0.1 | ema:decay=0.9", "sam"])
    @pytest.mark.parametrize("again", [False, True])
    def test_frozen_parts_are_bit_for_bit_the_same_after_training(self, recipe: str | None, again: bool) -> None:
        model = Residual()
        dashpot.replace_head(model, 3)
        names = dashpot.freeze(model, ["conv1", "bn?", "layer1"])
        assert {name.split(".")[0] for name in names} == {"conv1", "bn1", "layer1"}
        if again:
            model.eval()  # as a whole, which then is trained as a whole: but not what is frozen
        before = {name: t.clone() for name, t in model.state_dict().items()}
        dashpot.fit(model, data(), recipe=recipe, epochs=2, batch_size=8, lr=0.05, progress=False)
        after = model.state_dict()
        kept = [name for name in before if name.startswith(("conv1", "bn1", "layer1"))]
        assert len(kept) == 1 + 5 + 2 * 6
        assert all(torch.equal(before[name], after[name]) for name in kept)
        assert not torch.equal(before["fc.weight"], after["fc.weight"])
        assert not torch.equal(before["layer2.0.1.running_mean"], after["layer2.0.1.running_mean"])

    def test_copies_and_pickles_stay_frozen(self) -> None:
        model = Residual()
        dashpot.freeze(model, "layer2")
        x = data()[0]
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            other.train()
            other(x)
            assert not any(m.training for m in other.layer2.modules())
            for own, before in zip(other.layer2.buffers(), model.layer2.buffers(), strict=True):
                assert torch.equal(own, before)

    def test_refusals(self) -> None:
        with pytest.raises(
            dashpot.ConfigError, match="patterns of freeze must be one of conv1, bn1.*Did you mean 'layer[12]'"
        ):
            dashpot.freeze(Residual(), "layer")
        with pytest.raises(dashpot.ConfigError, match="something is left to train"):
            dashpot.freeze(Residual(), "*")
        model = Residual()
        assert dashpot.freeze(model, "*.bias") == [n for n, _ in model.named_parameters() if n.endswith("bias")]


class TestGroups:
    def test_each_stage_has_a_part_of_the_rate_of_the_next(self) -> None:
        model = Residual()
        groups = dashpot.finetune_groups(model, 0.1, decay=0.5)
        assert [group["stage"] for group in groups] == ["conv1, bn1", "layer1", "layer2", "fc"]
        assert [group["lr"] for group in groups] == [0.0125, 0.025, 0.05, 0.1]
        assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))

    def test_the_larger_part_is_taken_apart(self) -> None:
        groups = dashpot.finetune_groups(Transformer(), 1.0, decay=0.5, weight_decay=0.1)
        names = list(dict.fromkeys(group["stage"] for group in groups))
        assert names == ["token", "embed", "blocks.0", "blocks.1", "blocks.2, norm", "head", "auxiliary"]
        for group in groups:
            assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.1}

    def test_frozen_and_shared_parameters(self) -> None:
        model = Residual()
        dashpot.freeze(model, ["conv1", "bn1", "layer1"])
        assert [group["stage"] for group in dashpot.finetune_groups(model, 0.1)] == ["layer2", "fc"]
        tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        tied[1].weight = tied[0].weight
        assert sum(len(group["params"]) for group in dashpot.finetune_groups(tied, 0.1)) == 3

    @pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD, dashpot.optim.AdamW, dashpot.optim.SGD])
    def test_any_optimizer_takes_them(self, make: Any) -> None:
        model = Residual()
        optimizer = make(dashpot.finetune_groups(model, 0.1, decay=0.5), lr=0.1)
        before = [p.detach().clone() for p in model.parameters()]
        model(data()[0]).square().mean().backward()
        optimizer.step()
        assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        if make is torch.optim.SGD:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    old = next(a for a, b in zip(before, model.parameters(), strict=True) if b is p)
                    torch.testing.assert_close(p, old - group["lr"] * p.grad)

    def test_fit_trains_by_stage_and_resumes(self, tmp_path: Path) -> None:
        def run(**options: Any) -> dashpot.FitResult:
            torch.manual_seed(3)
            model = Residual()
            dashpot.replace_head(model, 3)
            return dashpot.fit(model, data(), lr=0.01, lr_decay=0.5, schedule="constant", progress=False, **options)

        whole = run(epochs=3)
        assert [row["lr"] for row in whole.history] == [0.01] * 3
        run(epochs=3, checkpoint=tmp_path)
        resumed = run(epochs=3, checkpoint=tmp_path, resume=True)
        assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True))

    def test_refusals(self) -> None:
        for options, message in (
            ({"lr": 0}, "lr must be"),
            ({"decay": 1.5}, "decay must be"),
            ({"weight_decay": -1}, "weight_decay must"),
        ):
            with pytest.raises(dashpot.ConfigError, match=message):
                dashpot.finetune_groups(Residual(), **{"lr": 0.1, **options})
        with pytest.raises(dashpot.ConfigError, match="trainable parameters"):
            dashpot.finetune_groups(nn.Flatten(), 0.1)
        model = Residual()
        with pytest.raises(dashpot.ConfigError, match="lr_decay must be 1 where an optimizer is given"):
            dashpot.fit(
                model, data(), optimizer=torch.optim.SGD(model.parameters(), lr=0.1), lr_decay=0.5, progress=False
            )
