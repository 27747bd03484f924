"""Architectures of transformers, built from configurations, with zeros in random units: none is silently wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dashpot
from tests.shrinking.zoo import count

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow
TEXT: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
}
IMAGE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "image_size": 16,
    "patch_size": 8,
}


def ids() -> dict[str, Tensor]:
    return {"input_ids": torch.randint(2, 40, (2, 7))}


def pixels(size: int = 16) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(2, 3, size, size, dtype=torch.float64)}


def both() -> dict[str, Tensor]:
    return {**ids(), "decoder_input_ids": torch.randint(2, 40, (2, 5))}


def build(kind: str, **settings: Any) -> Callable[[], nn.Module]:
    """A network of that kind, with the settings of its configuration."""
    return lambda: getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**settings))


DISTIL = {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24, "max_position_embeddings": 20}
GPT2 = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 20, "use_cache": False}
T5 = {"vocab_size": 40, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4, "use_cache": False}
LLAMA = {**TEXT, "num_key_value_heads": 2, "use_cache": False}
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], dict[str, Tensor]]]] = {
    "bert": (build("Bert", **TEXT), ids),
    "roberta": (build("Roberta", **TEXT), ids),
    "electra": (build("Electra", embedding_size=16, **TEXT), ids),
    "distilbert": (build("DistilBert", **DISTIL), ids),
    "gpt2": (build("GPT2", **GPT2), ids),
    "llama": (build("Llama", **LLAMA), ids),
    "t5": (build("T5", **T5), both),
    "vit": (build("ViT", **IMAGE), pixels),
    "deit": (build("DeiT", **IMAGE), pixels),
    "resnet": (
        build("ResNet", embedding_size=16, hidden_sizes=[16, 24], depths=[1, 1], layer_type="basic"),
        lambda: pixels(32),
    ),
    "convnext": (build("ConvNext", hidden_sizes=[16, 24], depths=[1, 1], num_stages=2), lambda: pixels(32)),
    "mobilenet v1": (build("MobileNetV1", depth_multiplier=0.25, min_depth=4), lambda: pixels(32)),
    "mobilenet v2": (build("MobileNetV2", depth_multiplier=0.25), lambda: pixels(32)),
}
STAYS = {"gpt2": "part of a head", "bert": "part of a head", "convnext": "layer norm"}
"""What the report says of some, besides other reasons."""


def planted(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Zeros in random units of each layer, whose biases and shifts are not zero."""
    torch.manual_seed(seed)
    model = make().double().eval()
    with torch.no_grad():
        for module in model.modules():
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is not None and tensor.ndim == 1 and tensor.is_floating_point():
                    tensor.add_(0.1 + 0.3 * torch.rand_like(tensor))
            weight = getattr(module, "weight", None)
            if isinstance(weight, Tensor) and weight.ndim > 1 and not isinstance(module, nn.Embedding):
                rows = weight.t() if type(module).__name__ == "Conv1D" else weight
                rows[torch.rand(len(rows)) < 0.3] = 0
    return model


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", MODELS)
def test_architectures_of_transformers(name: str, seed: int) -> None:
    make, example = MODELS[name]
    model = planted(make, seed)
    found = dashpot.shrink(model, example())
    assert count(found.model) < count(model)
    assert [type(m) for m in found.model.modules()] == [type(m) for m in model.modules()]
    given = example()
    with torch.no_grad():
        wanted, got = model(**given)[0], found.model(**given)[0]
    assert float((wanted - got).abs().max()) <= 1e-9 * float(wanted.abs().max())
    if name in STAYS:
        assert any(STAYS[name] in reason for reason in found.stayed)
