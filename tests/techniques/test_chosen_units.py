"""``on`` of techniques on whole units: only those leave that some of the selected weights make."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.core.errors import ConflictError


class Words(nn.Module):
    """Two layers of torch's encoder over embedded words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layers(self.words(x)).mean(1))
        return out


def sentences() -> tuple[Tensor, Tensor]:
    x = torch.randint(1, 20, (256, 6), generator=torch.Generator().manual_seed(0))
    return x, (x == 3).any(1).long()


def widths(model: Words) -> list[tuple[int, int]]:
    """Heads and hidden units of each layer."""
    return [(layer.self_attn.num_heads, layer.linear1.out_features) for layer in model.layers.layers]


def test_half_of_the_heads_leave_and_nothing_else() -> None:
    torch.manual_seed(0)
    model = Words()
    # A head of width 4 is 16 * 3 * 4 weights and 3 * 4 biases before, and 4 * 16 weights after the attention.
    full, head = sum(p.numel() for p in model.parameters()), 16 * 12 + 12 + 64
    recipe = dashpot.Compress(to=f"{full - 4 * head} parameters", on="name:*self_attn*")
    result = dashpot.fit(model, sentences(), recipe=recipe, epochs=6, batch_size=64, progress=False)
    assert sum(heads for heads, _ in widths(result.model)) == 4
    assert all(hidden == 24 for _, hidden in widths(result.model))
    assert sum(p.numel() for p in result.model.parameters()) == full - 4 * head


def test_the_other_units_leave_where_they_are_chosen() -> None:
    torch.manual_seed(0)
    recipe = dashpot.Compress(to="0.8x parameters", on="name:*linear1* & weights")
    result = dashpot.fit(Words(), sentences(), recipe=recipe, epochs=6, batch_size=64, progress=False)
    assert [heads for heads, _ in widths(result.model)] == [4, 4]
    assert sum(hidden for _, hidden in widths(result.model)) < 48


def test_a_unit_of_several_tensors_is_chosen_by_any_of_them_and_leaves_whole() -> None:
    torch.manual_seed(0)
    x = torch.randn(128, 1, 8, 8)
    y = (x.mean((1, 2, 3)) > 0).long()
    for on in ("type:BatchNorm2d & name:1.*", "name:0.weight"):
        model = nn.Sequential(
            *(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)),
        )
        small = dashpot.fit(
            model, (x, y), recipe=dashpot.Compress(to="0.6x parameters", on=on), epochs=4, progress=False
        ).model
        assert small[0].out_channels == small[1].num_features == small[3].in_channels < 8
        assert small[3].out_channels == 8


def test_channel_lasso_shrinks_only_the_chosen() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 2))
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    lasso = dashpot.penalties.ChannelLasso(strength=0.5, scaling="decoupled", on="name:2.*")
    x, session = torch.randn(16, 8), lasso.attach(model, optimizer)
    (0.0 * model(x).sum()).backward()
    optimizer.step()
    after = [p.detach() for p in model.parameters()]
    session.close()
    same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert same == [True, True, False, False, True, True]
    norms = [torch.cat([w[2], w[3][:, None]], 1).norm(dim=1) for w in (before, after)]
    directions = [torch.cat([w[2], w[3][:, None]], 1) / n[:, None] for w, n in zip((before, after), norms, strict=True)]
    assert (norms[1] < norms[0]).all()
    torch.testing.assert_close(*directions)


def test_a_path_of_sizes_asks_the_chosen_units() -> None:
    x = torch.randn(90, 6, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()

    def make(columns: int) -> nn.Module:
        return nn.Sequential(nn.Linear(columns, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))

    def smallest(size: str) -> dashpot.SizePath:
        own = dashpot.Compress(to=size, on="name:2.*")
        return dashpot.size_path(lambda: make(6), (x, y), own, points=2, epochs=2, cv=2)

    # 112 + 272 + 34 numbers, of which the middle layer's units take 19 each.
    with pytest.raises(ConflictError, match="with one unit in each layer that may become smaller"):
        smallest("130 parameters")
    found = smallest("140 parameters")
    assert found.record.parameters == [133, 418]


def test_what_is_not_there_is_said() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(ConflictError, match=r"Compress.on \(name:0.wieght\) matches no parameter .*name:0.weight"):
        dashpot.Compress(to="20 parameters", on="name:0.wieght").attach(model, optimizer, steps=10)
    session = dashpot.Compress(to="20 parameters", on="name:2.*").attach(model, optimizer, steps=10)
    with pytest.raises(ConflictError, match=r"finds no units .* `on` \(name:2.\*\) does not select"):
        model(torch.randn(4, 4))
    session.close()


@pytest.mark.parametrize("first", [True, False])
def test_beside_a_proximal_step_no_on_would_help_and_none_is_advised(first: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    own, other = dashpot.Compress(to="20 parameters", on="name:0.*"), dashpot.L1(1e-3, on="name:2.*")
    recipe = own | other if first else other | own
    with pytest.raises(ConflictError, match=r"both want the proximal step .* Keep one of them\.$"):
        recipe.attach(model, torch.optim.Adam(model.parameters()), steps=10)
