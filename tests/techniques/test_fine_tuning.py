"""Techniques for networks that were trained before, by hand: what each does in a step, and what stays as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import dashpot
from dashpot.core.recipe import Recipe
from dashpot.core.technique import Technique
from dashpot.fine_tuning import L2SP, ChildTuning, EmbeddingNoise, FreezeUntil, Mixout, SelectiveProjectionDecay
from dashpot.techniques.fine_tuning.child_tuning import most_informed
from dashpot.testing import Toy
from dashpot.testing.toys import same, start, state, step, train
from tests.rows import ROWS


def network(*, normalized: bool = False) -> nn.Module:
    torch.manual_seed(3)
    norm = [nn.BatchNorm1d(5)] if normalized else []
    return nn.Sequential(nn.Linear(4, 5), *norm, nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 2))


def sgd(model: nn.Module, lr: float = 0.1, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, **options)


def one_step(model: nn.Module, optimizer: torch.optim.Optimizer, scale: float = 1.0) -> None:
    x = torch.linspace(-1, 1, 24).reshape(6, 4).to(next(model.parameters()).dtype)
    optimizer.zero_grad()
    (scale * model(x).square().sum()).backward()
    optimizer.step()


class TestL2SP:
    def test_three_steps_by_hand(self) -> None:
        """The gradient is that of the penalty: strength x way from the start, and of the new head strength x weight."""
        model, twin = network().double(), network().double()
        begun = {name: p.detach().clone() for name, p in twin.named_parameters()}
        optimizer, other = sgd(model), sgd(twin)
        with L2SP(0.4, head_ratio=0.5).attach(model, optimizer):
            for _ in range(3):
                one_step(model, optimizer)
        for _ in range(3):
            other.zero_grad()
            x = torch.linspace(-1, 1, 24).reshape(6, 4).double()
            own = twin(x).square().sum()
            own = own + 0.2 * sum((twin[i].weight - begun[f"{i}.weight"]).square().sum() for i in (0, 2))
            (own + 0.1 * twin[4].weight.square().sum()).backward()
            other.step()
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(p, q)

    @pytest.mark.parametrize("head", ["0", "4", "auto", "none"])
    def test_heads(self, head: str) -> None:
        """What is new goes towards zero, what is not stays where it is; there is no other gradient."""
        model = network()
        before = state(model)
        optimizer = sgd(model)
        with L2SP(1.0, head=head, on="weights").attach(model, optimizer):
            one_step(model, optimizer, scale=0.0)
        for name, tensor in state(model).items():
            new = name == {"0": "0.weight", "4": "4.weight", "auto": "4.weight"}.get(head)
            torch.testing.assert_close(tensor, before[name] * (0.9 if new else 1.0))

    def test_the_head_may_be_left_out(self) -> None:
        model = network()
        before = state(model)
        optimizer = sgd(model)
        with L2SP(1.0, head_ratio=0.0).attach(model, optimizer):
            one_step(model, optimizer, scale=0.0)
        same(state(model), before, "moved")

    def test_a_layer_put_in_later_is_new(self) -> None:
        model = network()
        optimizer = sgd(model)
        with L2SP(1.0, head="none").attach(model, optimizer):
            one_step(model, optimizer, scale=0.0)
            model[2] = nn.Linear(5, 5)
            optimizer.add_param_group({"params": list(model[2].parameters()), "lr": 0.1})
            before = model[2].weight.detach().clone()
            one_step(model, optimizer, scale=0.0)
            torch.testing.assert_close(model[2].weight, 0.9 * before)

    def test_maximize_and_a_decay_of_the_optimizer(self) -> None:
        model = network()
        optimizer = sgd(model, maximize=True)
        begun = model[0].weight.detach().clone()
        with L2SP(1.0).attach(model, optimizer):
            model[0].weight.data.add_(1.0)  # `data`, as what is loaded before the first step is a start
            one_step(model, optimizer, scale=0.0)
        torch.testing.assert_close(model[0].weight, begun + 0.9)
        with pytest.warns(UserWarning, match="decay is set twice"):
            L2SP().attach(other := network(), sgd(other, weight_decay=0.1))

    def test_an_unknown_head_is_refused_by_name(self) -> None:
        model = network()
        with pytest.raises(dashpot.ConflictError, match=r"L2SP\.head must be .* got 'had'"):
            L2SP(head="had").attach(model, sgd(model))


class TestSelectiveProjectionDecay:
    def test_steps_by_hand(self) -> None:
        """NumPy, tensor by tensor; both kinds of steps occur."""
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 2, bias=False)).double()
        optimizer = sgd(model, lr=0.3, momentum=0.9)
        technique = SelectiveProjectionDecay(0.8, on="type:Linear")
        x, y = torch.randn(16, 3, dtype=torch.float64), torch.randn(16, 2, dtype=torch.float64)
        twin = [p.detach().numpy().copy() for p in model.parameters()]
        begun, moments, kinds = [w.copy() for w in twin], [np.zeros_like(w) for w in twin], []
        with technique.attach(model, optimizer):
            for _ in range(25):
                optimizer.zero_grad()
                (model(x) - y).square().mean().backward()
                for i, p in enumerate(model.parameters()):
                    g = p.grad.numpy()  # type: ignore[union-attr]  # backward has made it
                    moments[i] = 0.9 * moments[i] + g
                    away = twin[i] - begun[i]
                    new = twin[i] - 0.3 * moments[i]
                    radius, now = np.linalg.norm(away), np.linalg.norm(new - begun[i])
                    acts = (g * away).sum() > 0 and now > radius
                    kinds.append(acts)
                    share = 0.8 * (now - radius) / now if acts else 0.0
                    twin[i] = new - share * (new - begun[i])
                optimizer.step()
                for p, w in zip(model.parameters(), twin, strict=True):
                    np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-9)
        assert 2 < sum(kinds) < len(kinds) - 2

    def test_the_head_and_later_layers_are_left_alone(self) -> None:
        model = network()
        session = SelectiveProjectionDecay().attach(model, sgd(model))
        held = session.state_dict()["techniques"]["selective-projection-decay"]["start"]
        assert list(held) == ["0.weight", "2.weight"]


class TestMixout:
    def test_half_way_by_masks(self) -> None:
        """Each weight a layer computes with is the start's, or the way from there doubled; biases are whole."""
        model = network()
        begun = model[0].weight.detach().clone()
        with Mixout(0.5).attach(model, sgd(model), seed=1):
            with torch.no_grad():
                model[0].weight.add_(1.0)
                seen = model[0](torch.eye(4)).T - model[0].bias.unsqueeze(1)
            own = model[0].weight.detach()
            back = (seen - begun).abs() < 1e-5
            torch.testing.assert_close(seen, torch.where(back, begun, begun + 2 * (own - begun)))
            assert 0 < int(back.sum()) < 20
            assert not (model[4](torch.ones(1, 5)) - model[4](torch.ones(1, 5))).any()  # the head

    def test_the_mean_is_the_weight(self) -> None:
        """Over 4,000 masks each of 20 means has a normal error; a |z| above 5 in any of them: 1e-5 false alarms."""
        model = network()
        with Mixout(0.7).attach(model, sgd(model), seed=5), torch.no_grad():
            model[0].weight.add_(1.0)
            own = model[0].weight.detach()
            outs = torch.stack([model[0](torch.eye(4)).T - model[0].bias.unsqueeze(1) for _ in range(4000)])
        deviation = (0.7 / 0.3 / 4000) ** 0.5
        assert float(((outs.mean(0) - own) / deviation).abs().max()) < 5

    def test_gradients_go_where_the_mask_lets_them(self) -> None:
        """d/dw of the mixed weight is 1 / (1 - p) or 0."""
        model = network()
        with Mixout(0.6).attach(model, sgd(model), seed=1):
            model[0](torch.eye(4)).sum().backward()
        found = model[0].weight.grad
        assert found is not None
        assert {round(float(v), 4) for v in found.unique()} == {0.0, 2.5}

    def test_the_whole_network_is_one_recurrent_layer(self) -> None:
        torch.manual_seed(0)
        model = nn.LSTM(3, 4)
        plain = nn.LSTM(3, 4)
        plain.load_state_dict(model.state_dict())
        x = torch.randn(5, 2, 3)
        with Mixout(0.5).attach(model, sgd(model)):
            torch.testing.assert_close(model(x)[0], plain(x)[0])  # it is where it began
            with torch.no_grad():
                model.weight_ih_l0.add_(1.0)
                plain.weight_ih_l0.add_(1.0)
            assert not torch.allclose(model(x)[0], plain(x)[0])
        torch.testing.assert_close(model(x)[0], plain(x)[0])

    def test_refused(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2))
        with pytest.raises(dashpot.ConflictError, match="output layer is left out"):
            Mixout().attach(model, sgd(model))
        with pytest.raises(dashpot.ConfigError, match=r"Mixout\.p must be a number in \[0, 1\)"):
            Mixout(1.0)


class TestChildTuning:
    def test_random_shares(self) -> None:
        """Of 10,000 weights about 0.3 move, by lr / 0.3 each; a share off by 5 deviations: 6e-7 false alarms."""
        model = nn.Linear(10_000, 1, bias=False)
        before = model.weight.detach().clone()
        optimizer = sgd(model, lr=0.3)
        with ChildTuning(0.3).attach(model, optimizer):
            model(torch.ones(1, 10_000)).sum().backward()
            optimizer.step()
        moved = before - model.weight.detach()
        share = float((moved.abs() > 0.5).float().mean())
        assert abs(share - 0.3) < 5 * (0.21 / 10_000) ** 0.5
        torch.testing.assert_close(moved[moved.abs() > 0.5], torch.ones(int(share * 10_000 + 0.5)), atol=1e-5, rtol=0)

    def test_steps_differ(self) -> None:
        model = nn.Linear(200, 1, bias=False)
        optimizer = sgd(model, lr=1.0)
        masks = []
        with ChildTuning(0.5).attach(model, optimizer):
            for _ in range(2):
                before = model.weight.detach().clone()
                optimizer.zero_grad()
                model(torch.ones(1, 200)).sum().backward()
                optimizer.step()
                masks.append((model.weight.detach() - before).abs() > 0.5)
        assert not torch.equal(*masks)

    def test_the_most_informed_are_chosen_and_weights_rest_before(self) -> None:
        """The loss weighs inputs by 1 to 8: with half of them kept, the last four are trained."""
        model = nn.Linear(8, 1, bias=False)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0)
        before = model.weight.detach().clone()
        with ChildTuning(0.5, by="fisher", batches=3).attach(model, optimizer, steps=5) as session:
            for number in range(5):
                optimizer.zero_grad()
                model(torch.arange(1.0, 9.0).unsqueeze(0)).sum().backward()
                optimizer.step()
                if number == 2:
                    assert torch.equal(model.weight, before)
                    assert session.state_dict()["techniques"]["child-tuning"]["chosen"] is False
        moved = (model.weight.detach() - before)[0] != 0
        assert moved.tolist() == [False] * 4 + [True] * 4

    def test_shares_over_all_tensors_and_ties(self) -> None:
        masks = most_informed([torch.tensor([[3.0, 1.0]]), torch.tensor([2.0, 0.0, 0.0])], 0.4)
        assert [m.tolist() for m in masks] == [[[1, 0]], [1, 0, 0]]
        assert sum(float(m.sum()) for m in most_informed([torch.zeros(6), torch.zeros(4)], 0.3)) == 3
        assert float(most_informed([torch.ones(3)], 0.01)[0].sum()) == 1

    def test_a_run_that_is_too_short(self) -> None:
        model = network()
        with pytest.raises(dashpot.ConflictError, match="less than the 5 optimizer steps of the run, got 20"):
            ChildTuning(0.5, by="fisher").attach(model, sgd(model), steps=5)


class TestFreezeUntil:
    def test_the_head_first_then_all(self) -> None:
        """Until the moment only the head moves, beside a decay and an average; statistics rest, too."""
        model = network(normalized=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
        recipe = FreezeUntil("50%") | dashpot.WeightDecay(0.1) | dashpot.penalties.MaxNorm(0.01) | dashpot.EMA(0.5)
        with pytest.warns(UserWarning, match="decay is set twice"):
            session = recipe.attach(model, optimizer, steps=4)
        begun = state(model)
        for number in range(4):
            one_step(model, optimizer)
            now = state(model)
            moved = {name for name in now if not torch.equal(now[name], begun[name])}
            if number < 2:
                assert moved == {"5.weight", "5.bias"}
                assert model[1].training
                assert {k: v for k, v in optimizer.state.items() if v}.keys() == set(model[5].parameters())
        assert {"0.weight", "3.weight", "1.running_mean", "1.num_batches_tracked"} <= moved
        session.close()

    def test_stage_after_stage(self) -> None:
        model = network()
        optimizer = sgd(model)
        opened = []
        with FreezeUntil("4steps", gradual=True).attach(model, optimizer):
            for _ in range(5):
                before = state(model)
                one_step(model, optimizer)
                now = state(model)
                opened.append([name for name in ("0.bias", "2.bias", "4.bias") if (now[name] != before[name]).any()])
        every = ["0.bias", "2.bias", "4.bias"]
        assert opened == [every[2:], every[2:], every[1:], every[1:], every]

    def test_parts_of_their_own(self) -> None:
        model = network()
        session = (FreezeUntil("1steps", on="name:2.*") | FreezeUntil("2steps", on="name:0.*")).attach(
            model, optimizer := sgd(model)
        )
        moved = []
        for _ in range(3):
            before = state(model)
            one_step(model, optimizer)
            now = state(model)
            moved.append({name[0] for name in now if (now[name] != before[name]).any()})
        session.close()
        assert moved == [{"4"}, {"2", "4"}, {"0", "2", "4"}]
        with pytest.raises(dashpot.ConflictError, match="both want the opening of '0.weight'"):
            (FreezeUntil("1steps") | FreezeUntil("2steps", on="name:0.*")).attach(other := network(), sgd(other))

    def test_refused(self) -> None:
        model = network()
        with pytest.raises(dashpot.ConflictError, match="needs the run's length"):
            FreezeUntil("50%").attach(model, sgd(model))
        with pytest.raises(dashpot.ConflictError, match="opens after step 9, but the run ends after step 5"):
            FreezeUntil("9steps").attach(model, sgd(model), steps=5)
        with pytest.raises(dashpot.ConflictError, match="leaves nothing of Sequential to train"):
            FreezeUntil("1steps", on="name:*").attach(model, sgd(model))
        single = nn.Sequential(nn.Linear(2, 2))
        with pytest.raises(dashpot.ConflictError, match="output layer"):
            FreezeUntil("1steps").attach(single, sgd(single))


class TestEmbeddingNoise:
    def test_lengths_and_padding(self) -> None:
        """Each text's noise is bounded by alpha / sqrt(L d) of its own tokens, and uniform: by Kolmogorov and Smirnov,
        1e-6 false alarms."""
        model = nn.Embedding(50, 16, padding_idx=0)
        ids = torch.randint(1, 50, (64, 20), generator=torch.Generator().manual_seed(0))
        ids[:32, 5:] = 0
        with EmbeddingNoise(2.0).attach(model, sgd(model)), torch.no_grad():
            away = model(ids) - model.weight[ids]
            other = model(ids) - model.weight[ids]
        assert not away[:32, 5:].any()
        for rows, tokens in ((away[:32, :5], 5), (away[32:], 20)):
            scaled = (rows * (tokens * 16) ** 0.5 / 2.0).flatten().numpy()
            assert stats.kstest(scaled, "uniform", args=(-1, 2)).pvalue > 1e-6
            assert np.abs(scaled).max() < 1.001
        assert not torch.equal(away, other)

    def test_only_the_tokens_table(self) -> None:
        class Two(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.token, self.place, self.head = nn.Embedding(9, 4), nn.Embedding(9, 4), nn.Linear(4, 2)

        model = Two()
        with EmbeddingNoise().attach(model, sgd(model)):
            assert not torch.equal(model.token(torch.arange(3)), model.token.weight[:3])
            assert torch.equal(model.place(torch.arange(3)), model.place.weight[:3])
        with EmbeddingNoise(on="name:place").attach(model, sgd(model)):
            assert not torch.equal(model.place(torch.arange(3)), model.place.weight[:3])
        with pytest.raises(dashpot.ConflictError, match=r"matches no nn\.Embedding"):
            EmbeddingNoise().attach(other := network(), sgd(other))


class LoraLinear(nn.Module):
    """As peft builds them: a frozen layer, and two small ones behind a dropout, by the name of an adapter."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.base_layer = nn.Linear(6, 6)
        self.lora_dropout = nn.ModuleDict({"default": nn.Dropout(rate) if rate else nn.Identity()})
        self.lora_A = nn.ModuleDict({"default": nn.Linear(6, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, 6, bias=False)})
        self.base_layer.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        small = self.lora_dropout["default"](x)
        out: Tensor = self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](small))
        return out


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_dropout_of_adapters_by_name(rate: float) -> None:
    """What goes into an adapter is dropped, and nothing else; a rate that the adapter has is taken over."""
    torch.manual_seed(0)
    model = nn.Sequential(LoraLinear(rate), nn.ReLU(), LoraLinear(rate))
    trained = [p for p in model.parameters() if p.requires_grad]
    seen: list[Tensor] = []
    model[0].lora_A["default"].register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    base = state(model)
    optimizer = torch.optim.SGD(trained, lr=0.5)
    with dashpot.Dropout(0.5, on="name:*lora_dropout.*").attach(model, optimizer, seed=0):
        x = torch.ones(400, 6)
        model(x).square().mean().backward()
        optimizer.step()
    assert {round(float(v), 5) for v in seen[0].unique()} == {0.0, 2.0}
    assert 900 < int((seen[0] == 0).sum()) < 1500  # of 2,400; 12 deviations
    now = state(model)
    assert all(torch.equal(now[name], base[name]) for name in now if "base_layer" in name)
    assert any(not torch.equal(now[name], base[name]) for name in now if "lora" in name)
    plain = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    assert plain == [rate] * len(plain)


def test_all_of_it_in_one_run_by_stages() -> None:
    """Groups by stage, R-Drop, a probe, a pull to the start and Mixout: they train, and are saved and resumed."""
    toy = Toy(dropout=0.3)

    def optimize(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(dashpot.finetune_groups(model, lr=0.02, decay=0.5, weight_decay=0.0))

    recipe = Recipe((FreezeUntil("50%"), L2SP(0.1), Mixout(0.3), dashpot.outputs.RDrop(1.0), ChildTuning(0.8)))
    model, optimizer, session = start(toy, recipe, optimize=optimize)
    assert [group["lr"] for group in optimizer.param_groups][-1] == 0.02
    begun = state(model)
    for number in range(6):
        step(toy, model, optimizer, session, number=number)
        if number == 2:
            assert torch.equal(model[0].weight, begun["0.weight"])
    session.close()
    assert not torch.equal(model[0].weight, begun["0.weight"])
    other = train(toy, recipe)[0]
    same(train(toy, recipe, interrupt=4)[0], other, "resumed otherwise")


def frozen_of(toy: Toy, model: nn.Module) -> list[str]:
    """What to freeze: the first layer with its normalization, or the table of tokens."""
    return ["embedding"] if toy.modality == "text" else ["0", "1"]


@pytest.mark.parametrize("cls", ROWS, ids=lambda cls: cls.kind())
def test_frozen_parts_stay_bit_for_bit(cls: type[Technique]) -> None:
    """Beside every technique, on all that it can act on: a frozen part keeps parameters and statistics, and what
    evaluation and the final model have of it."""
    row = ROWS[cls]
    technique = row.technique
    default = getattr(technique, "on", None)
    wide = [replace(technique, on="everything")] if default is not None and not technique.defines("on_model") else []
    for one in (technique, *wide):
        toy = row.toy
        model = toy.network().train()
        dashpot.freeze(model, frozen_of(toy, model))
        names = [n for n in state(model) if n.split(".")[0] in frozen_of(toy, model)]
        begun = state(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.0)
        try:
            session = toy.attach(one, model, optimizer)
        except (dashpot.ConflictError, dashpot.ConfigError):  # such as columns of a bias
            assert one is not technique
            continue
        for number in range(3):
            step(toy, model, optimizer, session, number=number)
        seen = session.snapshot()
        session.finish()
        session.close()
        for name in names:
            assert torch.equal(state(model)[name], begun[name]), f"{one} moved {name}"
            assert name not in seen or torch.equal(seen[name], begun[name]), f"{one} shows {name} otherwise"
