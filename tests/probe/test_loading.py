"""What `Loading` sets reaches the context: LoRA adapters, cache types; and what a file may say."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from llmagic.errors import ModelError, ModelFileError, PromptError
from llmagic.model.context import Context, Shape
from llmagic.model.loading import Model
from llmagic.session import Session
from llmagic.settings import Loading
from tests.oracle import assert_exact, sequence_of, warm_logits
from tests.probe import models
from tests.probe.conftest import Check, Opens
from tests.toys import Toy
from tests.toys.weights import Tensors, finish

ASK = {"max_tokens": 4, "temperature": 0}


# Adapters ---------------------------------------------------------------------------------------


@pytest.fixture
def adapter(tmp_path: Path) -> str:
    return str(models.lora(tmp_path / "lora.gguf"))


def _logits(session: Session) -> np.ndarray:
    session.ask("Who is it?", after=None, **ASK)
    return warm_logits(session)


def test_an_adapter_changes_the_answer(toy_named, open_session: Opens, adapter: str) -> None:
    toy = toy_named("llama")
    plain, half, whole, none = (
        _logits(open_session(toy, lora=lora))
        for lora in ((), ((adapter, 0.5),), ((adapter, 1.0),), ((adapter, 0.0),))
    )
    for one, other in ((plain, half), (plain, whole), (half, whole)):
        assert np.abs(one - other).max() > 0.01 * np.ptp(plain)
    assert np.array_equal(plain, none)


def test_restoring_with_an_adapter_is_exact(toy_named, open_session: Opens, adapter: str) -> None:
    session = open_session(toy_named("llama"), lora=((adapter, 1.0),))
    assert session.engine.verdict.exact
    first = session.ask("One " * 200, **ASK)
    session.ask("Two", **ASK)
    again = session.ask("Three", after=first, **ASK)
    assert again.usage["restored"]["tokens"] > 200
    assert_exact(session, again)


def test_an_adapter_outlives_a_larger_context(toy_named, open_session: Opens, adapter: str) -> None:
    session = open_session(toy_named("llama"), lora=((adapter, 1.0),), n_ctx_start=512)
    first = session.ask("One " * 100, **ASK)
    turn = session.ask("Two " * 400, **ASK)
    assert session.status()["context"]["tokens"] > 512
    assert turn.usage["restored"]["tokens"] >= first.usage["prompt"]["tokens"]
    assert_exact(session, turn)


def test_an_adapter_is_part_of_the_fingerprint(
    toy_named, open_session: Opens, adapter: str, tmp_path: Path
) -> None:
    toy = toy_named("llama")
    other = str(models.lora(tmp_path / "other.gguf", scale=2.0))
    seen = {
        open_session(toy, lora=lora).engine.fingerprint
        for lora in ((), ((adapter, 1.0),), ((adapter, 0.5),), ((other, 1.0),))
    }
    assert len(seen) == 4


def test_two_adapters(toy_named, open_session: Opens, adapter: str, tmp_path: Path) -> None:
    toy = toy_named("llama")
    other = str(models.lora(tmp_path / "other.gguf", scale=2.0))
    both = open_session(toy, lora=((adapter, 1.0), (other, 1.0)))
    one = open_session(toy, lora=((adapter, 1.0),))
    assert not np.array_equal(_logits(both), _logits(one))
    assert_exact(both, both.ask("Who is it?", after=None, **ASK))


def test_adapters_go_with_their_model(toy_named, adapter: str) -> None:
    toy = toy_named("llama")
    for _ in range(3):
        session = Session(toy.model, loading=Loading(lora=((adapter, 1.0),), n_threads=1))
        session.ask("Who?", **ASK)
        session.close()
        # And without being closed.
        session = Session(toy.model, loading=Loading(lora=((adapter, 1.0),), n_threads=1))
        del session
        gc.collect()


def test_what_is_no_adapter_of_the_model(toy_named, open_session: Opens, tmp_path: Path) -> None:
    llama, other = toy_named("llama"), toy_named("qwen2vl")
    adapter = str(models.lora(tmp_path / "lora.gguf"))
    for toy, path, said in (
        (other, adapter, "arch mismatch"),
        (llama, str(llama.model), "general.type"),
        (llama, str(tmp_path / "nowhere.gguf"), "there is none"),
    ):
        with pytest.raises(ModelFileError, match=said):
            open_session(toy, lora=((path, 1.0),))


def test_an_activated_adapter_is_refused(toy_named, open_session: Opens, tmp_path: Path) -> None:
    path = models.lora(tmp_path / "alora.gguf", invoked_by=[1, 2, 3])
    with pytest.raises(ModelError, match="aLoRA"):
        open_session(toy_named("llama"), lora=((str(path), 1.0),))


# Cache types ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_quantised_caches_through_a_session(toy: Toy, open_session: Opens, kind: str) -> None:
    session = open_session(toy, kv_type=kind)
    assert session.status()["kv_type"] == kind
    first = session.ask("One " * 150, **ASK)
    assert_exact(session, first)
    assert_exact(session, session.ask("Two", **ASK))
    again = session.ask("Three", after=first, **ASK)
    assert again.usage["restored"]["tokens"] > 150
    assert_exact(session, again)


def test_an_unknown_cache_type(toy_named, open_session: Opens) -> None:
    with pytest.raises(ModelError, match=r"f16, q8_0, q4_0, and got 'q5_k'"):
        open_session(toy_named("llama"), kv_type="q5_k")


def test_a_cache_type_the_model_cannot_have(
    tmp_path: Path, open_session: Opens, check: Check
) -> None:
    """Heads of 16: a block of q8_0 has 32 values."""
    path = models.bare(tmp_path / "narrow.gguf", head=16)
    toy = Toy("narrow", path, None, "attention")
    with pytest.raises(ModelError, match=r"q8_0 cache.*--kv f16"):
        open_session(toy, kv_type="q8_0")
    status, report = check(toy)
    assert (status, report["exact"]) == (0, True)


# Positions --------------------------------------------------------------------------------------


def test_no_more_positions_than_were_learned(tmp_path: Path, open_session: Opens) -> None:
    """Position 128 of 128 would end the process (ggml asserts the row)."""
    toy = Toy("gpt2", _gpt2(tmp_path / "gpt2.gguf", n_ctx=128), None, "attention")
    with pytest.raises(ModelError, match=r"at most 128 tokens.*got 256"):
        open_session(toy, n_ctx=256)
    session = open_session(toy)
    assert session.engine.n_ctx_limit == 128
    turn = session.ask("x" * 60, max_tokens=512, temperature=0, stop=())
    n_tokens = turn.usage["prompt"]["tokens"] + len(turn.tokens)
    assert n_tokens <= 128
    assert_exact(session, turn)
    assert sequence_of(session, turn).n_tokens == n_tokens


def _gpt2(path: Path, *, n_ctx: int) -> Path:
    from tests.toys import tokenizer

    n_vocab, n_embd, n_ff = len(tokenizer.vocabulary().tokens), 64, 128
    writer = GGUFWriter(None, "gpt2")
    tokenizer.add_tokenizer(writer, add_bos=False)
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(1)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(1e-5)
    tensors = Tensors(writer, "gpt2")
    tensors.add("token_embd.weight", tensors.noise("token_embd", n_vocab, n_embd))
    tensors.add("position_embd.weight", tensors.noise("position_embd", n_ctx, n_embd))
    tensors.matrix("output", n_vocab, n_embd, 3.0)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        tensors.norm(name, n_embd)
        tensors.bias(name, n_embd)
    for name, n_out, n_in in (
        ("attn_qkv", 3 * n_embd, n_embd),
        ("attn_output", n_embd, n_embd),
        ("ffn_up", n_ff, n_embd),
        ("ffn_down", n_embd, n_ff),
    ):
        tensors.matrix(f"blk.0.{name}", n_out, n_in)
        tensors.bias(f"blk.0.{name}", n_out)
    finish(writer, path)
    return path


# SentencePiece ----------------------------------------------------------------------------------


def test_no_space_is_put_before_a_piece(tmp_path: Path, open_session: Opens) -> None:
    """SentencePiece would: "[INST]" + "hello" would be [INST] and a word after a space."""
    path = models.sentencepiece(tmp_path / "spm.gguf")
    model = Model(path)
    text = model.vocabulary.text

    def tokens(words: str, *, special: bool) -> list[str]:
        return [text(token) for token in model.vocabulary.tokenize(words, special=special)]

    assert tokens("hello", special=False) == ["hello"]
    assert tokens(" hello", special=False) == ["▁hello"]
    assert tokens("[INST]hello[/INST]hello", special=True) == [
        "[INST]",
        "hello",
        "[/INST]",
        "hello",
    ]
    model.close()
    session = open_session(Toy("spm", path, None, "attention"))
    turn = session.ask("hello", **ASK)
    steps = session.chat.sequence(None, None, turn.parts).steps
    spelled = [text_of(session, token) for step in steps for token in step.span.tokens]
    assert spelled == ["<s>", "[INST]", "hello", "[/INST]"]


def text_of(session: Session, token: int) -> str:
    return session.engine.model.vocabulary.text(token)


def test_what_the_file_says_of_spaces_does_not_count(tmp_path: Path) -> None:
    found = []
    for says in (True, False, None):
        model = Model(models.sentencepiece(tmp_path / f"{says}.gguf", space_prefix=says))
        found.append(model.vocabulary.tokenize("hello hello", special=False))
        model.close()
    assert found[0] == found[1] == found[2]


def test_what_a_vocabulary_without_bytes_cannot_write_is_told(
    tmp_path: Path, open_session: Opens
) -> None:
    """llama.cpp ends the process at the first such character."""
    path = models.sentencepiece(tmp_path / "spm.gguf", writes_bytes=False)
    session = open_session(Toy("spm", path, None, "attention"))
    first = session.ask("hello", **ASK)
    with pytest.raises(PromptError, match=r"'é' \(U\+00E9\).*another template"):
        session.ask(f"hello {models.MARK} é", **ASK)
    with pytest.raises(PromptError, match=r"'\\n' \(U\+000A\)"):
        session.ask("hello\nworld", **ASK)
    assert session.last is first
    turn = session.ask(f"hello {models.MARK} hello", **ASK)
    steps = session.chat.sequence(None, first, turn.parts).steps
    spelled = [text_of(session, token) for step in steps for token in step.span.tokens]
    assert spelled[-6:] == ["[INST]", "hello", "▁", models.MARK, "▁hello", "[/INST]"]


# Windows that llama.cpp does not tell of --------------------------------------------------------


def test_a_hidden_window_is_read_from_the_file(toy_named, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmagic.model import loading

    toy = toy_named("gemma3")
    model = Model(toy.model)
    assert model.n_swa == 128
    monkeypatch.setattr(loading.llama, "llama_model_n_swa", lambda _: 0)
    assert model.n_swa == 0
    monkeypatch.setitem(loading.HIDDEN_WINDOW, "gemma3", "a test")
    assert model.n_swa == 128
    Context(model, Shape(256, 3)).close()
    model.close()
