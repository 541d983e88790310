"""Running an unchanged cell shows the reply it got, in this kernel and in the next (DESIGN D10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmagic.store import located
from llmagic.store.folder import Folder
from llmagic.store.upkeep import verify
from tests.notebook.book import Book
from tests.notebook.conftest import write_picture
from tests.notebook.kernel import Kernel, Message, Outcome
from tests.toys import Toy


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """A kernel as it is without any setting: it replays."""
    kernel = Kernel(tmp_path, replay=True)
    yield kernel
    kernel.stop()


def replayed(outcome: Outcome) -> bool:
    """Whether a reply was shown again; then nothing was computed for it."""
    usage = outcome.usage
    if usage["generated"]["stop"] != "replayed":
        return False
    assert usage["evaluated"] == {"tokens": 0, "images": 0, "ms": 0.0}
    assert usage["encoded"]["images"] == 0
    assert usage["generated"]["ms"] == 0.0
    assert usage["restored"]["tokens"] == usage["prompt"]["tokens"]
    assert usage["restored"]["images"] == usage["prompt"]["images"]
    return True


def test_an_unchanged_cell_is_replayed(kernel: Kernel, qwen35: Toy, tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    kernel.load(qwen35.model, qwen35.projector)
    question, options = "What is ![](a.png)?", "-t 1 -s 'For one.'"
    first = kernel.ask(question, "a", f"{options} -o answer")
    assert not replayed(first)
    again = kernel.ask(question, "a", f"{options} -o answer")
    assert replayed(again)
    assert again.shown == first.shown
    assert again.usage["turn"] == first.usage["turn"]
    assert again.usage["restored"]["tier"] == "memory"
    shown = kernel.value("answer.usage['generated']['stop'], str(answer)")
    assert shown == repr(("replayed", first.text))
    for text, changed in (
        ("What was ![](a.png)?", options),
        (question, "-t 1 -s 'For two.'"),
        (question, "-t 0.9 -s 'For one.'"),
    ):
        assert not replayed(kernel.ask(text, "a", changed)), "something is different"
    assert replayed(kernel.ask(question, "a", options))
    write_picture(tmp_path / "a.png", shade=1)
    assert not replayed(kernel.ask(question, "a", options)), "the picture is another one"


def test_what_is_below_a_replayed_cell_goes_on_from_it(kernel: Kernel, llama: Toy) -> None:
    kernel.load(llama.model)
    one, two = kernel.ask("One.", "a"), kernel.ask("Two.", "b")
    kernel.ask("Another.", "a")
    assert not replayed(kernel.ask("Two.", "b"))
    assert replayed(kernel.ask("One.", "a"))
    below = kernel.ask("Two.", "b")
    assert replayed(below)
    assert (below.text, below.usage["turn"]) == (two.text, two.usage["turn"])
    assert one.usage["turn"] != two.usage["turn"]


def test_resampling_and_the_setting_switch_it_off(kernel: Kernel, llama: Toy) -> None:
    kernel.load(llama.model)
    first = kernel.ask("Tell me.", "a", "-t 1")
    drawn = [kernel.ask("Tell me.", "a", "-t 1 --resample") for _ in range(2)]
    assert not any(replayed(outcome) for outcome in drawn)
    assert len({outcome.text for outcome in (first, *drawn)}) == 3
    assert kernel.ask("Tell me.", "a", "-t 1").text == first.text
    kernel.run("%config LLMagic.replay = False")
    again = kernel.ask("Tell me.", "a", "-t 1")
    assert not replayed(again)
    assert again.text == first.text


def in_the_reply() -> Callable[[Message], bool]:
    """Interrupt when some of a reply is on the screen."""
    return lambda message: (
        message.type in ("display_data", "update_display_data")
        and not message.text.startswith("reading the prompt")
    )


def test_an_interrupted_or_failed_turn_is_never_replayed(kernel: Kernel, llama: Toy) -> None:
    kernel.load(llama.model)
    code = "%%llm --max-tokens 3000 -t 1.5 --min-p 0 --seed 1\nTell me a long story."
    stopped = kernel.run(code, "a", interrupt=in_the_reply())
    assert stopped.error == "Interrupted"
    again = kernel.run(code, "a", interrupt=in_the_reply())
    assert again.error == "Interrupted", "it was drawn anew, until the interrupt"
    failed = kernel.run("%%llm --max-tokens 8\n![](nothing.png) What?", "b")
    assert failed.error is not None
    assert kernel.run("%%llm --max-tokens 8\n![](nothing.png) What?", "b").error == failed.error


def test_the_next_kernel_replays_what_this_one_stored(
    kernel: Kernel, llama: Toy, tmp_path: Path, store: Path
) -> None:
    kernel.load(llama.model)
    first = kernel.ask("Tell me.")
    resampled = kernel.ask("Tell me.", "a", "-t 1 --resample")
    kernel.stop(gently=True)
    assert any(store.rglob("*")), "nothing was stored"
    following = Kernel(tmp_path, replay=True)
    try:
        following.load(llama.model)
        again = following.ask("Tell me.")
        assert replayed(again)
        assert again.usage["restored"]["tier"] == "disk"
        assert again.shown == first.shown
        drawn = following.ask("Tell me.", "a", "-t 1 --resample")
        assert not replayed(drawn), "asked to draw, it draws, though it is the same draw"
        assert drawn.text == resampled.text
        following.run("%config LLMagic.store = ''")
        following.load(llama.model)
        following.run("%llm reset")
        assert not replayed(following.ask("Tell me.")), "there is no store now"
    finally:
        following.stop()


def test_a_replay_claims_nothing_that_was_not_so(
    kernel: Kernel, llama: Toy, tmp_path: Path, store: Path
) -> None:
    """How a reply was drawn stays with it, also on disk; and no state was restored for it."""
    kernel.load(llama.model)
    book = Book({name: f"%%llm --max-tokens 8 -t 0\nQuestion {name}?" for name in "abc"})
    book.run_all(kernel)
    assert kernel.run("%llm status").text.count(" tokens restored (") == 1
    book["a"].source += " Or another?"
    book.run(kernel, "a")
    drawn = book.run(kernel, "c")
    assert drawn.usage["exact"] is False, "the reply of b was evaluated again, in chunks"
    again = book.run(kernel, "c")
    assert replayed(again)
    assert again.usage["exact"] is False
    assert again.usage["restored"]["bytes"] == 0
    status = kernel.run("%llm status").text
    assert "reply of 8 tokens replayed (memory), nothing evaluated" in status
    assert "tokens restored" not in status
    kernel.stop(gently=True)
    following = Kernel(tmp_path, replay=True)
    try:
        following.load(llama.model)
        after = book.run(following, "c")
        assert replayed(after)
        assert after.usage["restored"]["tier"] == "disk"
        assert after.usage["exact"] is False
        following.stop(gently=True)
    finally:
        following.stop()
    # What names a turn goes with it: its question and its source.
    folder = Folder(located(store))
    assert verify(folder).asked == 0
    next(store.rglob("turns/*.safetensors")).unlink()
    report = verify(folder)
    assert (report.asked, report.is_well) == (2, True)
    assert verify(folder).asked == 0


def test_the_store_is_a_setting(kernel: Kernel, llama: Toy, tmp_path: Path, store: Path) -> None:
    assert kernel.value("get_ipython().magics_manager.registry['LLMagic'].store") == repr(
        str(store)
    )
    kernel.run("%config LLMagic.store = 'mine'\n%config LLMagic.store_budget = 5 << 30")
    kernel.load(llama.model)
    kernel.ask("Tell me.")
    status = kernel.run("%llm status").text
    (row,) = [line for line in status.splitlines() if line.startswith("store")]
    assert "mine, files " in row
    assert row.endswith("budget 5.0 GiB")
    kernel.stop(gently=True)
    assert any((tmp_path / "mine").rglob("turns/*"))
    assert not any(store.rglob("turns/*"))
