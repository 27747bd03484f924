"""Encoders: folders of transformers that read texts, their vectors, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dashpot.core.errors import ConfigError, DataError, StorageError, UnknownNameError
from dashpot.texts import encoder as encoders
from dashpot.texts import transformer
from dashpot.texts.encoder import Encoder, encoder_of
from dashpot.texts.feature_store import FeatureStore, store_of
from dashpot.texts.path_options import path_and_options
from tests import encoders as tiny
from tests.encoders import tiny_encoder

pytest.importorskip("transformers", reason="the extra dashpot[transformers]")

TEXTS = ["the film was great", "", "awful", "so so so zzz films!", "THE FILM was great", "\ud800 a\x00 ‏film 很好"]


folder, cache = tiny.folder, tiny.cache


def by_hand(folder: Path, text: str, pool: str, length: int) -> np.ndarray:
    """One text alone, in float64, from the hidden states of all of its tokens."""
    from transformers import AutoTokenizer, BertModel

    model = BertModel.from_pretrained(str(folder)).double().eval()
    clean = text.encode("utf-8", "replace").decode()
    ids = AutoTokenizer.from_pretrained(str(folder))(clean)["input_ids"]
    ids = ids if len(ids) <= length else [*ids[: length - 1], ids[-1]]
    with torch.no_grad():
        hidden = model(torch.tensor([ids])).last_hidden_state[0].numpy()
    return np.asarray(hidden[0] if pool == "cls" else hidden.mean(axis=0))


@pytest.mark.parametrize(("pool", "length"), [("mean", 30), ("cls", 30), ("mean", 4)])
def test_vectors_are_those_of_each_text_alone(folder: Path, pool: str, length: int) -> None:
    found = encoder_of(f"{folder}:pool={pool},length={length}").features(TEXTS)
    assert found.dtype == np.float32
    assert found.shape == (6, 16)
    for text, row in zip(TEXTS, found, strict=True):
        assert np.allclose(row, by_hand(folder, text, pool, length), atol=2e-5), text


def test_batches_of_any_size_give_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = encoder_of(folder)
    parts = transformer.parts_at(reader.path, reader.digest)
    rows = transformer.tokens_of(parts.tokenizer, TEXTS * 3, 30)
    whole = transformer.vectors_of(parts, rows, "mean")
    monkeypatch.setattr(transformer, "TOKENS", 7)
    assert torch.allclose(transformer.vectors_of(parts, rows, "mean"), whole, atol=1e-5)
    assert transformer.vectors_of(parts, [], "mean").shape == (0, 16)
    assert transformer.vectors_of(parts, [[], []], "mean").eq(0).all()  # of tokenizers without marks
    mixed = transformer.vectors_of(parts, [[], rows[0]], "mean")
    assert mixed[0].eq(0).all()
    assert torch.allclose(mixed[1], whole[0], atol=1e-5)


def test_each_text_is_computed_once_and_kept_in_a_file(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    plain = transformer.vectors_of

    def counted(parts: transformer.Parts, rows: list[list[int]], pool: str) -> torch.Tensor:
        computed.append(len(rows))
        return plain(parts, rows, pool)

    monkeypatch.setattr(transformer, "vectors_of", counted)
    monkeypatch.setattr(encoders, "BLOCK", 2)
    reader = encoder_of(folder)
    first = reader.features([*TEXTS, *TEXTS])
    assert computed == [2, 2, 2]
    assert np.array_equal(first[:6], first[6:])
    assert np.array_equal(reader.features(TEXTS[::-1]), first[5::-1])
    store_of.cache_clear()  # as in another process
    assert np.array_equal(encoder_of(folder).features([*TEXTS, "new"])[:6], first[:6])
    assert computed == [2, 2, 2, 1]
    assert len(list((cache / "dashpot" / "encoders").glob("*.sqlite"))) == 1
    encoder_of(f"{folder}:pool=cls").features(TEXTS[:1])
    assert computed[4:] == [1]


def test_a_cache_that_cannot_be_used_is_done_without(tmp_path: Path) -> None:
    for path in (None, tmp_path / "file" / "x.sqlite", tmp_path / "broken.sqlite"):
        (tmp_path / "file").write_text("")
        (tmp_path / "broken.sqlite").write_bytes(b"no database at all" * 100)
        store = FeatureStore(path)
        store.add({"a": np.ones(2, dtype=np.float32)})
        assert list(store.of(["a", "b"])) == ["a"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashpot.texts.feature_store.MOST", 5)
    store = FeatureStore(None)
    for name in "abc":
        store.add({name: np.ones(2, dtype=np.float32)})
    assert list(store.of(["a", "b", "c"])) == ["c"]
    store.add({str(i): np.ones(2, dtype=np.float32) for i in range(3)})
    assert not store.of(["a", "0"])


def test_a_model_that_reads_and_writes_gives_what_it_reads(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, T5Config, T5Model

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_encoder(tmp_path / "t5")))
    config = T5Config(vocab_size=40, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    model = T5Model(config).eval()
    model.save_pretrained(tmp_path / "t5")
    found = encoder_of(tmp_path / "t5").features(["the film"])
    with torch.no_grad():
        own = model.encoder(torch.tensor([tokenizer("the film")["input_ids"]])).last_hidden_state[0].mean(dim=0)
    assert np.allclose(found[0], own.numpy(), atol=1e-5)


def test_nothing_of_the_users_random_state_or_settings_changes(folder: Path) -> None:
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    transformer.parts_at.cache_clear()
    encoder_of(folder).features(["a"])
    assert torch.equal(torch.rand(1), wanted)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, bars)


def test_the_digest_is_of_what_matters(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "README.md").write_text("a note")
    assert encoder_of(copy).digest == encoder_of(folder).digest
    saved = Encoder.from_dict(json.loads(json.dumps(encoder_of(folder).to_dict())))
    assert saved.at(copy).path == str(copy)
    tiny_encoder(copy, seed=1)
    assert encoder_of(copy).digest != saved.digest
    with pytest.raises(ConfigError, match="with the same files, got"):
        saved.at(copy)
    with pytest.raises(StorageError, match=r"nowhere cannot be read: .*Name a folder"):
        saved.at(tmp_path / "nowhere")


def test_folders_that_are_none_are_refused(folder: Path, tmp_path: Path) -> None:
    def changed(name: str) -> Path:
        return Path(shutil.copytree(folder, tmp_path / name))

    with pytest.raises(StorageError, match=r"missing cannot be read: No such file.* Name a folder of a model"):
        encoder_of(tmp_path / "missing")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="It has no config.json"):
        encoder_of(empty)
    pickled = changed("pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"It has no file \*.safetensors. Load it with transformers where you trust"):
        encoder_of(pickled)
    foreign = changed("foreign")
    config = json.loads((foreign / "config.json").read_text())
    own = {"model_type": "own", "auto_map": {"AutoConfig": "code.C", "AutoModel": "code.M"}}
    (foreign / "config.json").write_text(json.dumps({**config, **own}))
    (foreign / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigError, match="Loading it gave"):
        encoder_of(foreign)
    assert not (tmp_path / "ran").exists()
    for name, content in (("broken", b"{"), ("short", b"")):
        broken = changed(name)
        (broken / "model.safetensors").write_bytes(content)
        with pytest.raises(ConfigError, match="Loading it gave"):
            encoder_of(broken).features(["a"])
    wordless = changed("wordless")
    for file in wordless.glob("token*"):
        file.unlink()
    with pytest.raises(ConfigError, match="It has no tokenizer.json"):
        encoder_of(wordless)


def test_weights_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ConfigError, match=r"16 of its weights are missing, such as encoder.layer.2"):
        encoder_of(other).features(["a"])
    (other / "config.json").write_text(json.dumps({**config, "vocab_size": 12}))
    with pytest.raises(ConfigError, match="tokenizer has 20 tokens, and its model 12"):
        encoder_of(other)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    from transformers import BertModel

    folder = tiny_encoder(tmp_path / "bert")
    model = BertModel.from_pretrained(str(folder))
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.fill_(float("nan"))
    model.save_pretrained(folder)
    with pytest.raises(DataError, match="not finite"):
        encoder_of(folder).features(["a"])


def test_options_are_read_and_checked(folder: Path) -> None:
    found = encoder_of(f"{folder}:pool=cls, length=7")
    assert (found.pool, found.length, found.width) == ("cls", 7, 16)
    assert encoder_of(folder).length == 30  # of 32 positions
    assert encoder_of(Encoder(str(folder), length=5)).length == 5
    for text, message in (
        (":pool=max", "encoder pool must be one of mean, cls"),
        (":length=1", "encoder length must be"),
        (":length=4,length=5", "encoder length must be said once"),
        (":pool=cls,7", "path:option=value"),
    ):
        with pytest.raises(ConfigError, match=message):
            encoder_of(f"{folder}{text}")
    with pytest.raises(UnknownNameError, match="Did you mean 'pool'"):
        encoder_of(f"{folder}:pol=cls")
    with pytest.raises(ConfigError, match="encoder must be a path"):
        encoder_of(3)
    with pytest.raises(ConfigError, match="encoder pool"):
        encoder_of(Encoder(str(folder), pool="none"))


def test_a_path_with_a_colon_that_exists_is_a_path(tmp_path: Path) -> None:
    odd = tmp_path / "a:pool=cls"
    odd.mkdir()
    assert path_and_options("encoder", str(odd), encoders.OPTIONS) == (str(odd), {})


def test_without_the_package_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install dashpot\[transformers\]"):
        encoder_of(folder)
