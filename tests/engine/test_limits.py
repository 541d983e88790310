"""What the engine must get right around its edges; each of these once went wrong."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from gguf import GGUFValueType
from PIL import Image

from llmagic.checkpoint.checkpoints import Checkpoints
from llmagic.engine import engine
from llmagic.errors import Interrupted, ModelError, UsageError
from llmagic.events import Delta, Event
from llmagic.events import Loading as LoadingEvent
from llmagic.model import loading
from llmagic.model.library import LOG, llama
from llmagic.model.loading import Model
from llmagic.model.vision import Slot
from llmagic.prompt.pixels import Picture
from llmagic.session import Session
from llmagic.settings import Loading
from llmagic.store import Kind
from tests.engine.variants import variant
from tests.faults.injecting import injected, raises
from tests.oracle import assert_close, assert_exact, sequence_of
from tests.toys import Toy

Named = Callable[[str], Toy]


@pytest.fixture(scope="module")
def long_rope(toy_named: Named, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama with two sets of rope factors; above 600 tokens of context the other one counts."""
    half = 32
    return variant(
        toy_named("llama").model,
        tmp_path_factory.mktemp("rope") / "longrope.gguf",
        metadata={
            "llama.rope.scaling.type": ("longrope", GGUFValueType.STRING),
            "llama.rope.scaling.original_context_length": (600, GGUFValueType.UINT32),
        },
        tensors={
            "rope_factors_long.weight": np.linspace(1, 32, half).astype(np.float32),
            "rope_factors_short.weight": np.ones(half, np.float32),
        },
    )


def test_growing_never_changes_the_rope_factors(long_rope: Path):
    with Session(long_rope, loading=Loading(n_ctx_start=512)) as session:
        first = session.ask("some words to remember. " * 20, max_tokens=4)
        session.ask("y zebra " * 300, after=None, max_tokens=1)
        second = session.ask("and now?", after=first, max_tokens=4)
        assert second.usage["restored"]["tokens"] > 100
        assert_exact(session, second)


def test_rope_factors_are_in_the_fingerprint(long_rope: Path):
    with Session(long_rope, n_ctx=512) as short, Session(long_rope, n_ctx=4096) as long:
        assert short.engine.fingerprint != long.engine.fingerprint
    with Session(long_rope, n_ctx=2048) as one, Session(long_rope, n_ctx=4096) as other:
        assert one.engine.fingerprint == other.engine.fingerprint


def test_a_window_that_is_not_applied(toy_named: Named, tmp_path: Path):
    """exaone4 speaks of a window and has none, but for its largest model."""
    source = toy_named("llama").model
    half = np.ones(64, np.float32)
    norms = {
        f"blk.{layer}.{name}.weight": np.ones(size, np.float32)
        for layer in range(3)
        for name, size in (("post_attention_norm", 128), ("post_ffw_norm", 128))
    } | {
        f"blk.{layer}.{name}.weight": half
        for layer in range(3)
        for name in ("attn_q_norm", "attn_k_norm")
    }
    path = variant(
        source,
        tmp_path / "exaone4.gguf",
        architecture="exaone4",
        metadata={"exaone4.attention.sliding_window": (32, GGUFValueType.UINT32)},
        tensors=norms,
        without=("attn_norm", "ffn_norm"),
    )
    with Session(path) as session:
        assert session.engine.model.memory.value == "attention"
        turns = []
        for index in range(3):
            turns.append(session.ask(f"{index} " + "word " * 40, max_tokens=4))
            assert (
                session.engine.context.end(
                    session.engine.checkpoints.branches._branches[0].sequence
                )
                == len(sequence_tokens(session, turns[-1])) - 1
            )
        again = session.ask(turns[1].parts, after=turns[0], max_tokens=4)
        assert_exact(session, again)


def sequence_tokens(session: Session, turn) -> list[int]:
    return [token for span in sequence_of(session, turn).spans for token in span.tokens]


def test_what_changes_the_session_from_an_event_is_refused(toy_named: Named):
    """Closing it there would free the model under a running decode, which ends the process."""
    with Session(toy_named("llama").model) as session:
        first = session.ask("first", max_tokens=3)
        for change in (
            lambda: session.ask("nested", max_tokens=1),
            lambda: session.forget(first),
            session.close,
        ):

            def listen(event: Event, change: Callable[[], object] = change) -> None:
                if isinstance(event, Delta):
                    assert session.kept(first)["tokens"]  # looking is allowed
                    change()

            with pytest.raises(UsageError, match="being answered"):
                session.ask("outer", max_tokens=3, on_event=listen)
            assert session.last is first
        turn = session.ask("outer", max_tokens=3)
        assert_exact(session, turn)


@pytest.mark.parametrize("n_sequences", [0, 1])
def test_fewest_branches(toy_named: Named, n_sequences: int):
    loading = Loading(exact=False, n_sequences=n_sequences)
    with Session(toy_named("qwen35").model, loading=loading) as session:
        first = session.ask("one", max_tokens=2)
        session.ask("two", after=None, max_tokens=2)
        assert session.ask("three", after=first, max_tokens=2).usage["restored"]["tokens"] > 0


@pytest.mark.parametrize("n_ctx_start", [1, 64, 300])
def test_a_tiny_context_to_begin_with(toy: Toy, n_ctx_start: int):
    """llama.cpp shrinks the batch to the context, and ends the process at a larger one."""
    with Session(toy.model, loading=Loading(n_ctx_start=n_ctx_start)) as session:
        turn = session.ask("word " * 400, max_tokens=3)
        assert_exact(session, turn)


GARBAGE = """
import gc, sys
from llmagic.model.context import Context, Shape
from llmagic.model.library import llama
from llmagic.model.loading import Model
from pathlib import Path
order = []
for name, label in (("llama_model_free", "model"), ("llama_free", "context")):
    def free(pointer, real=getattr(llama, name), label=label):
        order.append(label); real(pointer)
    setattr(llama, name, free)
class Box: pass
gc.disable()
box = Box(); box.box = box
box.model = Model(Path(sys.argv[1])); box.context = Context(box.model, Shape(512, 3))
box.context.evaluate([1, 2, 3], 0, 0)
del box; gc.collect(); gc.collect()
print(*order)
"""


def test_the_model_outlives_its_context(toy_named: Named):
    command = [sys.executable, "-c", GARBAGE, str(toy_named("llama").model)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split()[0] == "context"


def test_interrupt_while_loading(toy_named: Named):
    seen = []

    def interrupt(event: Event) -> None:
        if isinstance(event, LoadingEvent) and event.stage == "model":
            seen.append(event.fraction)
            if len(seen) == 2:
                os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        Session(toy_named("qwen35").model, on_event=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    with Session(toy_named("qwen35").model) as session:
        assert session.ask("hello", max_tokens=2).text


@pytest.mark.parametrize("said", [b"load_hparams", b"llama_context:"])
def test_interrupt_in_the_log_while_loading(
    toy_named: Named, monkeypatch: pytest.MonkeyPatch, said: bytes
):
    """Ctrl-C while a projector is read or a context made: Python hears it in llama.cpp's log."""
    seen = []

    def write(level: int, text: bytes, _: object) -> None:
        if said in text and not seen:
            seen.append(text)
            os.kill(os.getpid(), signal.SIGINT)

    callback = llama.llama_log_callback(write)
    monkeypatch.setattr(LOG, "_callback", callback)
    toy = toy_named("qwen35")
    LOG.install()
    try:
        with pytest.raises(Interrupted, match="was not loaded"):
            Session(toy.model, projector=toy.projector)
    finally:
        monkeypatch.undo()
        LOG.install()
    assert seen
    with Session(toy.model, projector=toy.projector) as session:
        assert session.ask("hello", max_tokens=2).text


@pytest.mark.parametrize(("module", "name"), [(loading, "Vocabulary"), (engine, "Checkpoints")])
def test_interrupt_when_all_is_read(
    toy_named: Named, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
):
    """Ctrl-C at the end of loading: nobody asks again, and what was loaded is freed."""
    made: list[Model] = []

    def init(model: Model, *args: object, real=Model.__init__, **kwargs: object) -> None:
        made.append(model)
        real(model, *args, **kwargs)

    at_the_end = getattr(module, name)

    def last(*args: object, **kwargs: object) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return at_the_end(*args, **kwargs)

    monkeypatch.setattr(Model, "__init__", init)
    monkeypatch.setattr(module, name, last)
    with pytest.raises(Interrupted, match="was not loaded"):
        Session(toy_named("llama").model)
    assert [model._finalizer.alive for model in made] == [False]


def test_interrupt_at_the_very_end(toy: Toy, monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C while the reply's checkpoint is saved: nobody asks again, and it must not be lost."""
    with Session(toy.model) as session:
        first = session.ask("hello", max_tokens=3)
        real = Checkpoints.save
        calls = []

        def save(self: Checkpoints, *args: object, **kwargs: object) -> int:
            calls.append(1)
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return real(self, *args, **kwargs)

        monkeypatch.setattr(Checkpoints, "save", save)
        with pytest.raises(Interrupted) as interrupted:
            session.ask("again", max_tokens=3)
        monkeypatch.undo()
        assert interrupted.value.usage["generated"]["stop"] == "interrupt"
        assert session.last is first
        assert_exact(session, session.ask("again", max_tokens=3))


def test_half_an_image_is_not_evaluated_twice(toy_named: Named):
    """Several branches, and room for the first batch of an image but not for the second."""
    toy = toy_named("qwen2vl")
    pixels = np.random.default_rng(0).integers(0, 255, (780, 780, 3), dtype=np.uint8)
    loading = Loading(exact=False, n_ctx=2048, n_ctx_start=2048, n_sequences=4)
    with Session(toy.model, projector=toy.projector, loading=loading) as session:
        used = 0
        for index in range(2):
            turn = session.ask(f"{index} " + "word " * 680, after=None, max_tokens=1)
            used += turn.usage["prompt"]["tokens"]
        assert 512 < 2048 - used < 784 + 40, "the test no longer hits the case"
        turn = session.ask("?", images=[Image.fromarray(pixels)], after=None, max_tokens=1)
        branch = next(b for b in session.engine.checkpoints.branches if b.n_tokens > 700)
        alone = session.engine.context.state_size(branch.sequence)
        assert alone / branch.n_tokens < 1000  # 792 bytes a token; twice that with it in twice
        assert_close(session, turn, tolerance=1e-2)


def test_pictures_do_not_pile_up(toy_named: Named):
    """Neither a sequence nor a turn that is remembered keeps the pixels of every picture shown."""
    toy = toy_named("qwen35")
    loading = Loading(image_budget=1 << 20, memory_budget=1 << 20)
    with Session(toy.model, projector=toy.projector, loading=loading) as session:
        for index in range(12):
            image = Image.new("RGB", (401, 399), (index, 0, 0))
            session.ask("?", images=[image], after=None, max_tokens=1)
            session.last = None
        gc.collect()
        slots = [each for each in gc.get_objects() if type(each) is Slot]
        # Other tests of this process have sessions, too.
        kept = [each for each in slots if each.picture.width == 401]
        assert kept
        assert sum(len(slot.picture.pixels) for slot in kept) < 4 << 20
        pictures = [each for each in gc.get_objects() if type(each) is Picture]
        shown = {id(each.pixels): each for each in pictures if each.width == 401}
        assert sum(len(each.pixels) for each in shown.values()) < 4 << 20


def test_pictures_of_a_conversation_that_goes_on_are_not_kept_for_the_encoder(
    toy_named: Named, tmp_path: Path
):
    """Their embeddings are on disk: what they were resized to is not wanted."""
    toy = toy_named("qwen35")
    images = [Image.new("RGB", (203, 201), (index, 0, 0)) for index in range(3)]
    for _ in range(2):
        with Session(toy.model, projector=toy.projector, store=tmp_path) as session:
            turn = session.ask("?", images=images, max_tokens=1)
            gc.collect()
            slots = [each for each in gc.get_objects() if type(each) is Slot]
            kept = [each.has_pixels for each in slots if each.picture.width == 203]
            assert kept
            assert not any(kept)
            assert session.ask("And?", max_tokens=1).usage["encoded"]["images"] == 0
    assert turn.usage["restored"]["tier"] == "disk"
    assert turn.usage["encoded"]["images"] == 0


def test_a_state_lost_on_disk_is_saved_again(toy_named: Named, tmp_path: Path):
    toy = toy_named("qwen35")
    with Session(toy.model, store=tmp_path) as session:
        first = session.ask("one " * 30, max_tokens=3)
        second = session.ask("two", after=first, max_tokens=3)
    for path in tmp_path.glob(f"*/{Kind.STATE.value}/*"):
        path.unlink()
    with Session(toy.model, store=tmp_path) as session:
        session.ask("two", after=first, max_tokens=3)
        session.engine.checkpoints.branches.drop_all()
        again = session.ask("two", after=first, max_tokens=3)
        assert again.usage["evaluated"]["tokens"] < 8
        assert again.id == second.id


def test_a_conversation_larger_than_the_memory(toy: Toy, tmp_path: Path):
    """What memory cannot hold is on disk; a cell still evaluates what is new, and no more."""
    loading = Loading(memory_budget=600_000)
    with Session(toy.model, store=tmp_path, loading=loading) as session:
        turns = [
            session.ask(f"Q{index} " + "words here " * 30, max_tokens=6) for index in range(14)
        ]
        assert session.store.flush(120)
        assert session.engine.checkpoints.tree.n_bytes <= loading.memory_budget
        for index in (13, 7, 2, 13):
            turn = session.ask(turns[index].parts, after=turns[index].parent, max_tokens=6)
            assert turn.usage["evaluated"]["tokens"] < 8
            assert turn.id == turns[index].id
            assert_exact(session, turn)


def test_two_threads_and_long_contexts(toy: Toy):
    """Attention over more than 512 cells is split among threads: exact all the same."""
    with Session(toy.model, loading=Loading(n_threads=2)) as session:
        first = session.ask("word " * 700, max_tokens=4)
        second = session.ask("more " * 30, after=first, max_tokens=4)
        session.ask("else " * 30, after=first, max_tokens=4)
        again = session.ask("more " * 30, after=first, max_tokens=4)
        assert again.tokens == second.tokens
        assert_exact(session, again)


def test_a_long_text_is_saved_on_the_way(toy: Toy):
    """Whoever interrupts or edits the end of a long text does not begin again."""
    with Session(toy.model) as session:
        text = "word " * 2600
        session.ask(text + "one", max_tokens=2)
        turn = session.ask(text + "two", after=None, max_tokens=2)
        assert turn.usage["restored"]["tokens"] >= 2048
        assert_exact(session, turn)


def test_one_image_is_a_list_of_one(toy_named: Named):
    toy = toy_named("qwen35")
    with Session(toy.model, projector=toy.projector) as session:
        image = Image.new("RGB", (96, 96), "red")
        turn = session.ask("What?", images=image, max_tokens=1)
        assert turn.usage["prompt"]["images"] == 1
        with pytest.raises(UsageError, match="a turn to continue"):
            session.ask("What?", after="yesterday")


def test_a_reply_cut_by_a_smaller_context_is_not_replayed(toy_named: Named, tmp_path: Path):
    """To load the model with a larger --ctx is what helps, so it must help."""
    path, question = toy_named("llama").model, "word " * 400

    def ask(n_ctx: int, max_tokens: int = 130):
        with Session(path, n_ctx=n_ctx, store=tmp_path) as session:
            return session.ask(question, temperature=0, max_tokens=max_tokens, replay=True)

    cut = ask(512)
    assert (cut.stop, len(cut.tokens)) == ("length", 101), "the test no longer hits the case"
    assert ask(512).usage["generated"]["stop"] == "replayed"
    longer = ask(768)
    assert len(longer.tokens) == 130
    assert longer.tokens[:101] == cut.tokens
    assert ask(768).usage["generated"]["stop"] == "replayed"
    # One that reached --max-tokens is complete.
    assert ask(512, 8).usage["generated"]["stop"] == "length"
    assert ask(768, 8).usage["generated"]["stop"] == "replayed"


def test_what_is_not_exact_is_forgotten_and_pinned_as_well(toy_named: Named):
    with Session(toy_named("llama").model, loading=Loading(exact=False)) as session:
        other = session.ask("one", max_tokens=3)
        turn = session.ask("two", after=None, max_tokens=3)
        assert turn.usage["exact"] is False
        session.pin(turn)
        tree = session.engine.checkpoints.tree
        tree.budget = 0
        tree.evict()
        assert session.held(turn)["memory"] > session.held(other)["memory"] == 0
        session.forget(turn)
        gone = session.held(turn)
        assert gone["memory"] == gone["live"] == 0
        assert session.held(other)["live"] > 0


def test_a_turn_below_another_system_prompt_is_looked_up_anew(toy_named: Named):
    with Session(toy_named("llama").model) as session:
        turn = session.ask("one", system="Be brief.", max_tokens=3)
        assert session.held(turn)["memory"] > 0
        assert session.held(turn.standing_on(None, "Be long."))["memory"] == 0


def test_a_closed_session_keeps_no_checkpoints(toy_named: Named):
    toy = toy_named("qwen35")
    session = Session(toy.model, projector=toy.projector)
    session.ask("one", images=[Image.new("RGB", (96, 96), "red")], max_tokens=3)
    rows = [weakref.ref(node.payload.rows) for node in session.engine.checkpoints.tree]
    rows += [weakref.ref(each) for each in session.engine.projector._embeddings.values()]
    assert len(rows) > 3
    session.close()
    gc.collect()
    assert not any(each() is not None for each in rows)


def test_nothing_is_live_while_there_is_no_context(toy_named: Named):
    """What was live would be dropped from a context that is freed, which may end the process."""
    with Session(toy_named("llama").model, loading=Loading(n_ctx_start=512)) as session:
        first = session.ask("one", max_tokens=3)
        assert session.held(first)["live"] > 0
        failing = injected(engine, "Context", raises(ModelError("no memory")))
        with failing, pytest.raises(ModelError, match="no memory"):
            session.ask("word " * 500, after=first, max_tokens=3)
        assert session.engine.n_ctx == 0
        assert session.held(first)["live"] == 0
        session.forget(first)
        assert_exact(session, session.ask("two", after=None, max_tokens=3))


def test_a_state_that_is_missing_on_disk_alone_is_written_again(toy_named: Named, tmp_path: Path):
    """Its rows come back for a later turn; the state that was evaluated anew is not lost again."""
    toy = toy_named("qwen35")
    with Session(toy.model, store=tmp_path) as session:
        first = session.ask("one " * 30, max_tokens=3)
        assert session.store.flush(120)
        states = {*tmp_path.glob(f"*/{Kind.STATE.value}/*")}
        second = session.ask("two", after=first, max_tokens=3)
    assert states
    for path in states:
        path.unlink()
    with Session(toy.model, store=tmp_path) as session:
        session.ask("three", after=second, max_tokens=3)
        session.ask("else", after=first, max_tokens=3)
    # All but the reply's, which goes like a prompt now.
    assert sum(path.exists() for path in states) == len(states) - 1


def test_a_model_without_a_tokenizer_is_refused(toy_named: Named, tmp_path: Path):
    """llama.cpp loads one, and ends the process when it is to tokenise."""
    path = variant(
        toy_named("llama").model,
        tmp_path / "no_vocab.gguf",
        metadata={
            "tokenizer.ggml.model": ("no_vocab", GGUFValueType.STRING),
            "llama.vocab_size": (465, GGUFValueType.UINT32),
        },
    )
    with pytest.raises(ModelError, match="a model with a tokenizer"):
        Session(path)
