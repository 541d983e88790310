"""Screens: what they publish for the events of a turn."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from llmagic.events import Called, Delta, Encoding, Loading, Notice, Prefill
from llmagic.notebook.display import (
    FAILED,
    INTERRUPTED,
    Final,
    Live,
    Terminal,
    marked,
    printable,
    screen_for,
)
from llmagic.notebook.request import Request

EMPTY = "░" * 20


class Published:
    """What a screen published, with the time of a clock that the test turns."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[tuple[float, dict[str, Any], dict[str, Any], bool, str | None]] = []

    def __call__(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any],
        *,
        transient: dict[str, Any] | None = None,
        update: bool = False,
    ) -> None:
        identity = (transient or {}).get("display_id")
        self.calls.append((self.now, data, metadata, update, identity))

    @property
    def texts(self) -> list[str]:
        return [data["text/plain"] for _, data, *_ in self.calls]


def live() -> tuple[Live, Published]:
    published = Published()
    return Live(published, clock=lambda: published.now), published


def test_a_call_is_shown_while_it_runs() -> None:
    screen, published = live()
    screen.event(Delta("Let me see."))
    screen.event(Called("slow", {}))
    assert published.texts[-1] == "Let me see.\n\n> slow()"


def test_live_updates_one_display_at_most_ten_times_a_second() -> None:
    screen, published = live()
    for _ in range(1000):
        screen.event(Delta("a "))
        published.now += 0.01
    screen.finish("a " * 1000, {"llmagic": 1})
    times = [call[0] for call in published.calls]
    assert 95 <= len(times) <= 102
    assert all(later - earlier >= 0.0999 for earlier, later in pairwise(times[:-1]))
    assert [call[3] for call in published.calls] == [False, *[True] * (len(times) - 1)]
    assert len({call[4] for call in published.calls}) == 1
    assert published.calls[-1][1]["text/plain"] == "a " * 1000
    assert published.calls[-1][2] == {"llmagic": 1}
    running = [call[2]["llmagic"]["running"] for call in published.calls[:-1]]
    assert all(set(call[2]) == {"llmagic"} for call in published.calls[:-1])
    assert {each["stage"] for each in running} == {"reply"}
    assert [each["done"] for each in running] == sorted({each["done"] for each in running})
    assert running[-1]["per_second"] == pytest.approx(100, rel=0.01)


def test_live_counts_tokens_and_not_pieces() -> None:
    screen, published = live()
    screen.event(Delta("a ", n_tokens=1))
    for _ in range(100):
        published.now += 0.01
        screen.event(Delta("b c d ", n_tokens=3))
    running = published.calls[-1][2]["llmagic"]["running"]
    assert running["done"] > 250
    assert running["per_second"] == pytest.approx(300, rel=0.02)


def test_live_says_what_it_waits_for_and_never_begins_empty() -> None:
    screen, published = live()
    events = [
        Loading("model", 0.5),
        Encoding(0, 2),
        Encoding(1, 2),
        Encoding(2, 2),
        Prefill(0, 300),
        Prefill(128, 300),
        Prefill(300, 300),
        Delta("\n"),
        Delta("Hi"),
    ]
    for event in events:
        screen.event(event)
        published.now += 1
    assert published.texts == [
        "loading the model: ██████████░░░░░░░░░░ 50%",
        f"looking at image 1 of 2: {EMPTY}",
        "looking at image 2 of 2: ██████████░░░░░░░░░░",
        f"reading the prompt: {EMPTY} 0 of 300 tokens",
        "reading the prompt: ████████░░░░░░░░░░░░ 128 of 300 tokens",
        "\nHi",
    ]
    running = [call[2]["llmagic"]["running"] for call in published.calls]
    assert [(each["stage"], each["done"], each["total"]) for each in running] == [
        ("model", 50, 100),
        ("image", 0, 2),
        ("image", 1, 2),
        ("prompt", 0, 300),
        ("prompt", 128, 300),
        ("reply", 2, None),
    ]


def test_live_takes_the_progress_away_when_a_cell_fails_before_the_first_word() -> None:
    screen, published = live()
    screen.event(Prefill(0, 300))
    screen.stop(FAILED)
    assert published.texts == [f"reading the prompt: {EMPTY} 0 of 300 tokens", ""]


def test_nothing_is_shown_for_an_error_before_anything_began() -> None:
    for screen, published in (live(), (Final(one := Published()), one)):
        screen.stop(FAILED)
        assert published.calls == []


@pytest.mark.parametrize("kind", ["live", "final"])
def test_partial_text_stays_and_is_marked(kind: str) -> None:
    published = Published()
    screen = Live(published) if kind == "live" else Final(published)
    screen.event(Delta("Once upon"))
    screen.stop(INTERRUPTED, "Once upon", {"llmagic": 2})
    _, data, metadata, *_ = published.calls[-1]
    assert data["text/plain"] == f"Once upon\n\n{INTERRUPTED}"
    assert data["text/markdown"] == f"Once upon\n\n*{INTERRUPTED}*"
    assert metadata == {"llmagic": 2}


def test_final_publishes_once_without_display_id() -> None:
    published = Published()
    screen = Final(published)
    for event in (Encoding(0, 1), Prefill(0, 9), Delta("a"), Delta("b")):
        screen.event(event)
    screen.finish("ab", {})
    ((_, data, _, update, identity),) = published.calls
    assert data == {"text/plain": "ab", "text/markdown": "ab"}
    assert not update
    assert identity is None


def test_a_mark_is_not_swallowed_by_an_open_code_block() -> None:
    text = "So:\n```python\nx = 1"
    assert marked(text, "end")["text/markdown"] == text + "\n```\n\n*end*"
    closed = text + "\n```\n"
    assert marked(closed, "end")["text/markdown"] == closed + "\n\n*end*"
    assert marked(text, "end")["text/plain"] == text + "\n\nend"


def test_notices_go_to_stderr_on_every_screen(capsys: pytest.CaptureFixture[str]) -> None:
    for screen in (live()[0], Final(Published()), Terminal(stream=True)):
        screen.event(Notice("a checkpoint could not be used"))
        assert capsys.readouterr() == ("", "llmagic: a checkpoint could not be used\n")


def test_what_is_no_warning_is_no_red_box_in_a_notebook(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = Notice("the demo model answers", warns=False)
    for screen in (live()[0], Final(Published())):
        screen.event(told)
        assert capsys.readouterr() == ("llmagic: the demo model answers\n", "")
    Terminal(stream=True).event(told)
    assert capsys.readouterr() == ("", "llmagic: the demo model answers\n")


def test_a_terminal_streams_and_ends_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Terminal(stream=True)
    screen.event(Prefill(0, 9))
    screen.event(Delta("one "))
    assert capsys.readouterr() == ("one ", "")
    screen.event(Delta("two"))
    screen.finish("one two", {})
    assert capsys.readouterr() == ("two\n", "")


def test_a_terminal_without_streaming_prints_once(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Terminal(stream=False)
    screen.event(Delta("one"))
    assert capsys.readouterr().out == ""
    screen.finish("one\n", {})
    assert capsys.readouterr().out == "one\n"


@pytest.mark.parametrize("stream", [True, False])
def test_a_terminal_marks_partial_text(stream: bool, capsys: pytest.CaptureFixture[str]) -> None:
    screen = Terminal(stream=stream)
    screen.event(Delta("one"))
    screen.stop(INTERRUPTED, "one", {})
    assert capsys.readouterr().out == f"one\n[{INTERRUPTED}]\n"


def test_a_reply_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2J\r\x07b\tc\n\x9b") == "a�[2J��b\tc\n�"


def test_captured_output_is_one_final_display(shell: InteractiveShell) -> None:
    with capture_output() as captured:
        screen = screen_for(shell, Request("cell", "1"), stream=True)
        screen.event(Delta("a"))
        screen.finish("a", {"llmagic": 3})
    (output,) = captured.outputs
    assert output.metadata == {"llmagic": 3}
