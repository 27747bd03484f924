"""Linear models of texts against scikit-learn's on features that a loop counts, and against formulas by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dashpot.core.errors import ConfigError
from dashpot.nets.text_bag import TextBag
from dashpot.texts.lexicon import Lexicon

TEXTS = [
    ["a", "good", "film"],
    ["good", "and", "warm"],
    ["not", "good", "film", "at", "all"],
    ["a", "bad", "film"],
    ["bad", "and", "cold"],
    ["the", "film", "is", "long", ",", "and", "long"],
    ["the", "film", "is", "short"],
]


@pytest.fixture
def lexicon() -> Lexicon:
    return Lexicon.fit(TEXTS)


@pytest.mark.parametrize("width", [0, 3])
def test_a_linear_model_is_set_in_the_units_of_the_features(lexicon: Lexicon, width: int) -> None:
    torch.manual_seed(0)
    net = TextBag.of(lexicon, 3, width=width).eval()
    x = torch.from_numpy(lexicon.transform([*TEXTS, []]))
    rest = net(x).detach()  # of the vectors, whose head starts at zero
    weight, bias = torch.randn(net.features, 3), torch.randn(3)
    assert net.set_linear(weight, bias) is net
    ids, starts, w = net.bags(x)
    ends = [*starts.tolist()[1:], len(ids)]
    for i, logits in enumerate(net(x).detach().numpy()):
        wanted = bias.double().numpy().copy()
        for k in range(int(starts[i]), ends[i]):
            wanted += float(w[k]) * weight[ids[k]].double().numpy()
        assert np.allclose(logits, wanted + rest[i].numpy(), atol=1e-5)
    with pytest.raises(ConfigError, match="weight must be of shape"):
        net.set_linear(weight[1:], bias)
    with pytest.raises(ConfigError, match="bias must be of shape"):
        net.set_linear(weight, bias[:1])
