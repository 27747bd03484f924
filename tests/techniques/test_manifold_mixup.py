"""Blends of hidden vectors, against passes that are written out here."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
import dashpot.testing
from dashpot import nets
from dashpot.augment import ManifoldMixup
from dashpot.core.draws import beta_by, permutation_by
from dashpot.core.rng import derive, derive_all, seeded, stream
from dashpot.nets import TextBag, TextConv
from dashpot.texts.lexicon import Lexicon

TEXTS = [["The", "film", "was", "not", "good"], ["a", "film", "of", "sounds"], ["the", "sounds", "was", "7"], ["was"]]
LEXICON = Lexicon.fit(TEXTS * 2)
ROWS = torch.from_numpy(LEXICON.transform(TEXTS))
CLASSES = torch.tensor([0, 1, 2, 1])


def attached(technique: Any, model: nn.Module, seed: int = 0, **options: Any) -> Any:
    return technique.attach(model.train(), torch.optim.SGD(model.parameters(), lr=0.1), seed=seed, **options)


def drawn(seed: int, n: int, alpha: float = 1.0) -> tuple[Tensor, Tensor]:
    """Shares and partners of the first batch, by the definition: those of Mixup, in a stream of its own."""
    keys = np.array([derive(stream(seed, "manifold-mixup"), 0, 0, 0)], dtype=np.uint64)
    return beta_by(derive_all(keys, 1), [alpha], n)[0], permutation_by(derive_all(keys, 2), n)[0]


def mixed(h: Tensor, seed: int) -> Tensor:
    share, order = drawn(seed, len(h))
    share = share.reshape(-1, *[1] * (h.ndim - 1)).to(h.dtype)
    return share * h + (1 - share) * h[order]


def random(net: nn.Module) -> nn.Module:
    with seeded(0):
        for p in net.parameters():
            nn.init.normal_(p, std=0.5)
    return net


def test_one_of_the_layers_is_blended_and_targets_as_by_mixup() -> None:
    with seeded(0):
        parts = [nn.EmbeddingBag(9, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)]
    model = nn.Sequential(*parts)
    x, y = torch.arange(18).reshape(6, 3) % 9, torch.tensor([0, 1, 2, 2, 1, 0])
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0, 0.25])
    seen = set()
    for seed in range(8):
        session = attached(ManifoldMixup(1.0), model, seed, classes=3)
        batch = session.batch(x, y, weight)
        out = model(batch.x)
        session.close()
        assert torch.equal(batch.x, x)
        share, order = drawn(seed, 6)
        one_hot = torch.eye(3)[y]
        own, other = (share * weight)[:, None], ((1 - share) * weight[order])[:, None]
        torch.testing.assert_close(batch.weight, (own + other)[:, 0])
        torch.testing.assert_close(batch.y * batch.weight[:, None], own * one_hot + other * one_hot[order])
        fits = []
        for layer in (1, 3):
            h = x
            for i, part in enumerate(parts):
                h = part(h)
                if i == layer:
                    h = mixed(h, seed)
            fits.append(torch.allclose(h, out, atol=1e-6))
        assert sum(fits) == 1
        seen.add(fits.index(True))
    assert seen == {0, 1}


def test_values_and_labels() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    for y, targets in ((x * 2, "values"), ((x > 0).long(), "multilabel")):
        session = attached(ManifoldMixup(1.0), model, targets=targets)
        torch.testing.assert_close(session.batch(x, y).y, mixed(y.float(), 0))
        session.close()


@pytest.mark.parametrize(("kind", "width"), [(TextBag, 0), (TextConv, 6)])
def test_what_is_linear_behind_the_blend_is_the_blend_of_outputs(kind: Any, width: int) -> None:
    model = random(kind.of(LEXICON, outputs=3, width=width))
    plain = copy.deepcopy(model)(ROWS)
    session = attached(ManifoldMixup(1.0), model, classes=3, modality="text")
    out = model(session.batch(ROWS, CLASSES).x)
    session.close()
    torch.testing.assert_close(out, mixed(plain, 0), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(out, plain, atol=1e-2)


def test_a_bag_with_vectors_is_blended_at_both_tables() -> None:
    model = random(TextBag.of(LEXICON, outputs=3, width=6))
    twin = copy.deepcopy(model)
    for table in (twin.linear, twin.embedding):
        table.register_forward_hook(lambda module, args, out: mixed(out, 0))
    session = attached(ManifoldMixup(1.0), model, classes=3, modality="text")
    torch.testing.assert_close(model(session.batch(ROWS, CLASSES).x), twin(ROWS), rtol=1e-4, atol=1e-4)
    session.close()


def test_a_table_network_with_connections_is_blended_behind_all_of_them() -> None:
    with seeded(0):
        model = nets.TableNet(inputs=3, outputs=2, width=4, depth=3, skip=True, norm="none")
    random(model)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    plain = copy.deepcopy(model)(x)
    session = attached(ManifoldMixup(1.0), model, targets="values")
    torch.testing.assert_close(model(session.batch(x, plain.detach()).x), mixed(plain, 0), rtol=1e-4, atol=1e-4)
    session.close()


def test_only_passes_of_the_batch_in_training_are_blended() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    x, y = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(5, 2)
    plain = copy.deepcopy(model)(x)
    session = attached(ManifoldMixup(1.0), model, targets="values")
    assert torch.equal(model(x), plain)
    session.batch(x, y)
    once = model(x)
    assert not torch.equal(once, plain)
    assert torch.equal(model(x), once)
    assert torch.equal(copy.deepcopy(model)(x), plain)
    assert torch.equal(model.eval()(x), plain)
    model.train()(x).sum().backward()
    session.optimizer.step()
    assert torch.equal(model(x), copy.deepcopy(model)(x))
    session.close()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_module_that_is_used_twice_is_blended_once() -> None:
    act = nn.Tanh()
    model = nn.Sequential(nn.Linear(2, 2), act, nn.Linear(2, 2), act)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    session = attached(ManifoldMixup(1.0), model, targets="values")
    out = model(session.batch(x, x).x)
    session.close()
    torch.testing.assert_close(out, act(model[2](mixed(act(model[0](x)), 0))))


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.branch = nn.GRU(2, 2), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(self.rnn(x)[0])


def test_what_cannot_be_blended_is_refused() -> None:
    model = Wide()
    with pytest.raises(dashpot.ConflictError, match=r"ManifoldMixup\.on .* matches no module of Wide"):
        attached(ManifoldMixup(1.0, on="convolutions"), model)
    model.branch.ends_branch = True
    with pytest.raises(dashpot.ConflictError, match="within the residual branches of Wide"):
        attached(ManifoldMixup(1.0), model)
    x = torch.ones(3, 4, 2)
    for on, told in (("type:GRU", "returns tuple"), ("name:branch", r"a tensor \[3, 4, 2\]")):
        with attached(ManifoldMixup(1.0, on=on), model, targets="values") as session:
            session.batch(x, torch.ones(4, 2))
            with pytest.raises(dashpot.UsageError, match=f"ManifoldMixup blends .* of 4 samples, but .* {told}"):
                model(x)
    with attached(ManifoldMixup(1.0, on="name:branch"), model, targets="values") as session:
        with pytest.raises(dashpot.UsageError, match="cannot blend padded or masked"):
            session.batch(x, torch.ones(3, 2), lengths=torch.tensor([1, 2, 3]))
        with pytest.raises(dashpot.UsageError, match="ManifoldMixup needs a target tensor"):
            session.batch(x)


def test_texts_that_are_strings_are_blended_by_what_the_network_makes_of_them() -> None:
    toy = dashpot.testing.Toy(modality="text", strings=True)
    (x, y), model = toy.data(), toy.network()
    plain = copy.deepcopy(model).train()
    session = attached(ManifoldMixup(1.0, on="name:norm"), model, classes=3, modality="text")
    batch = session.batch(x, y)
    assert batch.x is x
    assert not torch.equal(model(batch.x), plain(x))
    session.close()
