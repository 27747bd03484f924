"""An encoder that is trained further: the network, its start, its learning rates, and techniques on it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dashpot
from dashpot import nets
from dashpot.core.errors import ConfigError, ConflictError, DataError, UnknownNameError
from dashpot.data import Prepared
from dashpot.data.texts.encoded import Encoded
from dashpot.data.texts.tokenized import Tokenized
from dashpot.nets import TextEncoder
from dashpot.search.inputs import problem_of
from dashpot.texts import transformer
from dashpot.texts.encoder import encoder_of
from dashpot.texts.token_table import TokenTable, token_table
from dashpot.training.builtin import built_in, network_for
from dashpot.training.setup import adamw_for
from tests import encoders
from tests.encoders import MARKS, WORDS, tiny_encoder

pytest.importorskip("transformers", reason="the extra dashpot[transformers]")

folder, cache = encoders.folder, encoders.cache
TEXTS = [f"the {word} film number was so fine {i}" for i in range(8) for word in ("great", "awful", "fines")]
Y = np.array(["good", "bad", "good"] * 8)


def prepared(folder: Path, texts: Any = TEXTS, options: str = "") -> tuple[TextEncoder, Prepared]:
    problem = problem_of((texts, Y), None, None, own=False, encoder=f"{folder}:frozen=false{options}").problem
    data = problem.prepare(np.arange(20))
    torch.manual_seed(0)
    net = network_for(problem, data)
    assert isinstance(net, TextEncoder)
    return net.eval(), data


def weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_rows_begin_with_tokens(folder: Path) -> None:
    _, data = prepared(folder)
    how: Any = data.preprocessing
    known = [*MARKS, *WORDS]
    assert isinstance(how.encoded, Tokenized)
    assert how.before == 11  # two marks, eight words, and "fines" is "fine" and "##s"
    wanted = [known.index(token) + 1 for token in ("[CLS]", "the", "fine", "##s", "film", "number", "was", "so")]
    assert data.x[2, :8].tolist() == wanted
    assert data.x[2, 8:11].tolist() == [known.index(token) + 1 for token in ("fine", "[UNK]", "[SEP]")]
    assert data.x[0, 10] == 0
    long = how.transform(np.array([[" ".join(["the"] * 40)], [""], [None]], dtype=object))
    assert (long[0, :11] > 0).all()
    assert long[0, 10] == known.index("[SEP]") + 1
    assert long[1, :3].tolist() == long[2, :3].tolist() == [known.index("[CLS]") + 1, known.index("[SEP]") + 1, 0]


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_it_starts_as_the_frozen_encoder(folder: Path, pool: str) -> None:
    net, data = prepared(folder, options=f",pool={pool}")
    frozen = Encoded.fit(encoder_of(f"{folder}:pool={pool}"), TEXTS[:20])
    wanted = torch.from_numpy(frozen.rows(TEXTS).view(np.float32).copy())
    found = net.features(data.x)
    # Where a number of the vectors hardly varies, its rounding is large beside its deviation.
    assert torch.allclose(found * net.std, wanted * net.std, atol=1e-5)
    assert torch.allclose(net(data.x), found @ net.head.weight.T + net.head.bias, atol=1e-5)


def test_any_batch_gives_the_same(folder: Path) -> None:
    net, data = prepared(folder)
    whole = net(data.x)
    assert torch.allclose(torch.cat([net(row[None]) for row in data.x]), whole, atol=1e-5)
    assert net(data.x[:0]).shape == (0, 2)
    assert net(torch.zeros_like(data.x[:3])).isfinite().all()
    assert net(torch.zeros(1, data.x.shape[1])).shape == (1, 2)
    assert torch.allclose(net(data.x[:, : net.before]), whole, atol=1e-6)  # the words behind are not looked at


def test_a_description_has_all_that_it_is_built_from(folder: Path) -> None:
    net, data = prepared(folder)
    text = json.dumps(nets.describe(net))
    assert str(folder) not in text
    again = nets.from_description(json.loads(text))
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.eval()(data.x), net(data.x))
    assert not any("pooler" in name for name in net.state_dict())


def test_the_encoder_learns_slower_than_the_head(folder: Path) -> None:
    net, _ = prepared(folder)
    for decay, each in ((1.0, 0.9), (0.5, 0.5)):
        groups = adamw_for(net, None, 1e-3, decay).param_groups
        assert [group["stage"] for group in groups][:2] == ["head", "encoder.encoder.layer.1"]
        rates = [group["lr"] / 1e-3 for group in groups]
        assert np.allclose(rates, [1.0, *(0.02 * each**k for k in range(len(rates) - 1))])
        assert len(rates) == 4
        assert sum(p.numel() for group in groups for p in group["params"]) == sum(p.numel() for p in net.parameters())


def test_it_is_trained_and_learns(folder: Path) -> None:
    net, data = prepared(folder)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    result = dashpot.fit(net, (data.x, data.y), epochs=40, batch_size=8, lr=2e-2, modality="text", progress=False)
    assert result.history[-1]["train_accuracy"] == 1.0
    word = "encoder.embeddings.word_embeddings.weight"
    moved = (net.get_parameter(word) - before[word]).abs().amax(dim=1)
    known = [*MARKS, *WORDS]
    assert moved[known.index("awful")] > 1e-4
    assert moved[known.index("bad")] == 0  # in no text
    assert (net.head.weight - before["head.weight"]).abs().max() > 1e-2


def test_a_resumed_training_is_the_same(folder: Path, tmp_path: Path) -> None:
    whole, data = prepared(folder)
    given: dict[str, Any] = {"batch_size": 8, "schedule": "constant", "modality": "text", "progress": False, "seed": 1}
    recipe = "ema:decay=0.9 | word-masking:rate=0.2"
    dashpot.fit(whole, (data.x, data.y), recipe=recipe, epochs=4, **given)
    part, _ = prepared(folder)
    stopped = {"recipe": recipe, "epochs": 4, "checkpoint": tmp_path / "run", **given}
    calls = iter(range(8))
    hook = part.register_forward_pre_hook(lambda module, args: (next(calls), None)[1] if module.training else None)
    with pytest.raises(StopIteration):
        dashpot.fit(part, (data.x, data.y), **stopped)
    hook.remove()
    part, _ = prepared(folder)
    result = dashpot.fit(part, (data.x, data.y), resume=True, **stopped)
    assert len(result.history) == 4
    assert torch.allclose(weights(part), weights(whole), atol=1e-6)


@pytest.mark.parametrize(
    "recipe",
    [
        "r-drop",
        "embedding-dropout:p=0.2",
        "dropout:p=0.3,on=name:dropout",
        "dropout:p=0.2,on=embeddings",
        "word-masking:rate=0.3",
        "random-deletion:rate=0.2 | random-swap",
        "ema:decay=0.9",
        "sam",
        "label-smoothing | weight-decay | early-stopping:patience=5,monitor=train_loss,mode=min",
        "l1:strength=1e-4 | max-norm:on=embeddings",
        "manifold-mixup",
        "gradient-noise",
        "weight-noise",
    ],
)
def test_techniques_act_on_it(folder: Path, recipe: str) -> None:
    plain, data = prepared(folder)
    net, _ = prepared(folder)
    given: dict[str, Any] = {"epochs": 2, "batch_size": 8, "modality": "text", "progress": False, "lr": 1e-2}
    dashpot.fit(plain, (data.x, data.y), **given)
    result = dashpot.fit(net, (data.x, data.y), recipe=recipe, **given)
    assert all(math.isfinite(row["objective"]) for row in result.history)
    assert (weights(net) - weights(plain)).abs().max() > 1e-5


def test_techniques_on_embeddings_find_the_words(folder: Path) -> None:
    net, _ = prepared(folder)
    optimizer = adamw_for(net, None, 1e-3)
    with dashpot.dropout.EmbeddingDropout(p=0.1).attach(net, optimizer, modality="text") as session:
        plan = session.plan()
    assert "word_embeddings" in plan
    assert "position_embeddings" not in plan
    assert "token_type_embeddings" not in plan


def seen_by(net: TextEncoder, data: Prepared, recipe: str) -> torch.Tensor:
    rows: list[torch.Tensor] = []
    hook = net.register_forward_pre_hook(lambda module, args: rows.append(args[0].clone()) if module.training else None)
    dashpot.fit(net, (data.x, data.y), recipe=recipe, epochs=1, batch_size=24, modality="text", progress=False)
    hook.remove()
    return rows[0][rows[0][:, 0] > 0]


def test_words_are_masked_with_their_pieces(folder: Path) -> None:
    net, data = prepared(folder)
    width, known = net.before, [*MARKS, *WORDS]
    seen = seen_by(net, data, "word-masking:rate=0.95,protect=none")
    mask, number = known.index("[MASK]") + 1, {token: i + 1 for i, token in enumerate(known)}
    for row in seen[:, :width].tolist():
        filled = [value for value in row if value]
        assert filled[0] == number["[CLS]"]
        assert filled[-1] == number["[SEP]"]
        assert row == filled + [0] * (width - len(filled))
        words = [value for value in filled[1:-1] if value not in (mask, number["[UNK]"], number["##s"])]
        assert len(words) <= 3  # of seven or eight; one at least always stays
        if number["##s"] in filled:
            assert filled[filled.index(number["##s"]) - 1] == number["fine"]  # no piece without its begin
    before = {row.numpy().tobytes() for row in data.x[:, width:].contiguous()}
    assert {row.numpy().tobytes() for row in seen[:, width:].contiguous()} <= before  # words of others stay
    gone = seen_by(net, data, "random-deletion:rate=0.5,protect=none")
    assert (gone[:, :width] > 0).sum() < (data.x[:, :width] > 0).sum()
    assert (gone[:, :width] != number["[MASK]"]).all()


def test_a_network_that_does_not_know_its_tokenizer_refuses_techniques_on_words(folder: Path) -> None:
    net, data = prepared(folder)
    again = nets.from_description(nets.describe(net))
    with pytest.raises(ConflictError, match="tokens of a tokenizer that is not known here"):
        dashpot.fit(again, (data.x, data.y), recipe="word-masking", epochs=1, modality="text", progress=False)


def test_tokens_of_several_kinds_of_tokenizers() -> None:
    class Tokenizer:
        all_special_ids = (0,)
        mask_token_id, unk_token_id, pad_token_id = None, 0, None

        def __init__(self, *names: str) -> None:
            self.names = names

        def __len__(self) -> int:
            return len(self.names)

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return [self.names[i] for i in ids]

    pieces = token_table(Tokenizer("[UNK]", "film", "##s"))
    assert (pieces.words, pieces.begins.tolist()) == (("[UNK]", "film", "s"), [True, True, False])
    assert pieces.special.tolist() == [True, False, False]
    assert pieces.mask == 0
    for space in "\u0120\u2581":
        spaced = token_table(Tokenizer("<s>", f"{space}film", "s"))
        assert (spaced.words, spaced.begins.tolist()) == (("<s>", "film", "s"), [True, True, False])
    assert isinstance(spaced, TokenTable)


def test_other_networks_for_texts_do_not_look_at_the_tokens(folder: Path) -> None:
    _, data = prepared(folder)
    how: Any = data.preprocessing
    for name in ("textbag", "textconv"):
        net = built_in(how, data.x.shape[1:], 2, net=name).eval()
        other = data.x.clone()
        other[:, : how.before] = 1
        assert torch.equal(net(other), net(data.x))
        assert "encoder" not in nets.describe(net)
    with pytest.raises(UnknownNameError, match="textfeatures"):
        nets.build("text", (5,), 2, net="textfeatures", words=3, pieces=0, grams=0, links=0)


def test_what_cannot_be_is_refused(folder: Path, tmp_path: Path) -> None:
    net, _ = prepared(folder)
    options: dict[str, Any] = dict(net.options)
    with pytest.raises(ConfigError, match="encoder must be a mapping with config"):
        TextEncoder(2, before=3, encoder={})
    with pytest.raises(ConfigError, match="pool must be one of"):
        TextEncoder(2, before=3, encoder={**options["encoder"], "pool": "max"})
    with pytest.raises(ConfigError, match="outputs"):
        TextEncoder(0, before=3, encoder=options["encoder"])
    with pytest.raises(ConfigError, match="Loading it gave"):
        TextEncoder(2, before=3, encoder={"config": {"model_type": "unheard"}})
    wide = encoder_of(tiny_encoder(tmp_path / "wide", hidden_size=32))
    with pytest.raises(DataError, match="must have the weights of the network"):
        net.read_encoder(transformer.parts_at(wide.path, wide.digest), [0.0] * 32, [1.0] * 32)


def test_models_that_read_and_write_and_those_with_other_parts(tmp_path: Path) -> None:
    from transformers import DistilBertConfig, DistilBertModel, RobertaConfig, RobertaModel, T5Config, T5Model

    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    models = (
        T5Model(T5Config(vocab_size=40, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)),
        RobertaModel(RobertaConfig(vocab_size=40, intermediate_size=16, max_position_embeddings=34, **sizes)),
        DistilBertModel(DistilBertConfig(vocab_size=40, dim=16, n_layers=1, n_heads=2, hidden_dim=16)),
    )
    for model in models:
        place = tiny_encoder(tmp_path / type(model).__name__)
        (place / "model.safetensors").unlink()
        model.save_pretrained(place)
        net, data = prepared(place)
        frozen = torch.from_numpy(Encoded.fit(encoder_of(place), TEXTS[:20]).rows(TEXTS).view(np.float32).copy())
        assert torch.allclose(net.features(data.x) * net.std, frozen * net.std, atol=2e-5)
        dashpot.fit(net, (data.x, data.y), recipe="ema", epochs=1, modality="text", progress=False)


def test_adversarial_training_moves_the_vectors_of_its_words(folder: Path) -> None:
    net, data = prepared(folder)
    net.train()
    technique = dashpot.noise.AdversarialEmbeddings(0.5, weight=1.0)
    session = technique.attach(net, torch.optim.SGD(net.parameters(), lr=0.1))
    words = net.encoder.get_input_embeddings()  # type: ignore[operator]  # as every model of transformers
    assert [net.get_submodule(name) for name in net.embeds_at] == [words]
    x, y = session.batch(data.x[:8], data.y[:8])
    out = net(x)
    loss = session.loss(torch.nn.CrossEntropyLoss(), out)
    assert float(loss.detach()) != float(torch.nn.functional.cross_entropy(out, y).detach())
    loss.backward()
    assert words.weight.grad.abs().sum() > 0
