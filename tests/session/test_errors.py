"""Every error says what to do, and nothing is lost by it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llmagic.errors import (
    ContextFullError,
    ImageError,
    LLMagicError,
    ModelFileError,
    ProjectorError,
    PromptError,
    TemplateError,
    UsageError,
)
from llmagic.events import Delta, Event, Prefill
from llmagic.prompt.parts import ReplyPart, TextPart
from llmagic.session import Session, Turn
from llmagic.settings import Loading
from tests import oracle, toys
from tests.session.cells import image, prose
from tests.session.conftest import Opens
from tests.session.script import say
from tests.toys import Toy, projectors

ONE = Loading(n_threads=1)
FIRST, NEXT = "What is in this picture?", "And what else is there?"


@pytest.fixture
def expected(toy: Toy, open_session: Opens) -> tuple[Turn, Turn]:
    """Two turns in a session in which nothing ever failed."""
    session = open_session(toy)
    images = [image(0)] if toy.projector else []
    first = session.ask(FIRST, images=images, max_tokens=5)
    return first, session.ask(NEXT, max_tokens=5)


def check_usable(session: Session, first: Turn, wanted: tuple[Turn, Turn]) -> None:
    """The conversation is what it was after `first`, and goes on as if nothing had happened."""
    assert session.last is first
    assert first == wanted[0]
    turn = session.ask(NEXT, max_tokens=5)
    assert turn == wanted[1]
    # Nothing above is evaluated again.
    assert turn.usage["restored"]["tokens"] >= oracle.sequence_of(session, first).n_tokens
    oracle.assert_exact(session, turn)


# Turns ------------------------------------------------------------------------------------------


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that says it is this large, and is not."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def half_a_png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image(0)).save(stream, "PNG")
    return stream.getvalue()[:2000]


Ask = Callable[[Session], object]

WRONG: dict[str, tuple[Ask, type[LLMagicError], str]] = {
    "empty": (lambda s: s.ask(""), UsageError, "empty"),
    "white space": (lambda s: s.ask(" \n\t "), UsageError, "empty"),
    "no parts": (lambda s: s.ask([]), UsageError, "empty"),
    "parts of nothing": (lambda s: s.ask([TextPart(""), TextPart(" ")]), UsageError, "empty"),
    "no text at all": (lambda s: s.ask(None), UsageError, "None"),  # type: ignore[arg-type]
    "strange parts": (lambda s: s.ask(["text"]), UsageError, "'text'"),  # type: ignore[list-item]
    "unknown setting": (
        lambda s: s.ask("Hi", temprature=1),
        UsageError,
        "temprature. Did you mean temperature?",
    ),
    "less than no token": (lambda s: s.ask("Hi", max_tokens=-1), UsageError, "from 0 to"),
    "text for a number": (lambda s: s.ask("Hi", temperature="hot"), UsageError, "'hot'"),
    "not a number": (lambda s: s.ask("Hi", top_p=float("nan")), UsageError, "nan"),
    "out of range": (lambda s: s.ask("Hi", top_p=1.5), UsageError, "1.5"),
    "half a token": (lambda s: s.ask("Hi", max_tokens=2.5), UsageError, "2.5"),
    "negative": (lambda s: s.ask("Hi", max_tokens=-1), UsageError, "-1"),
    "seed too large": (lambda s: s.ask("Hi", seed=2**31), UsageError, "2147483648"),
    "images are none": (lambda s: s.ask("Hi", images=None), UsageError, "images as a list"),
    "stop is a number": (lambda s: s.ask("Hi", stop=3), UsageError, "3"),
    "no such file": (lambda s: s.ask("Hi", images=["no.png"]), ImageError, "no.png"),
    "no image": (lambda s: s.ask("Hi", images=[object()]), ImageError, "object"),
    "unreadable": (lambda s: s.ask("Hi", images=[b"GIF89a but no more"]), ImageError, ""),
    "half an image": (lambda s: s.ask("Hi", images=[half_a_png()]), ImageError, ""),
    "enormous": (lambda s: s.ask("Hi", images=[png_of_size(60_000, 60_000)]), ImageError, ""),
    "no room": (lambda s: s.ask(prose(40_000)), ContextFullError, "32,768"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("toy", ["llama", "gemma3", "qwen35"], indirect=True)
def test_what_cannot_be_asked(
    toy: Toy, session: Session, expected: tuple[Turn, Turn], name: str
) -> None:
    ask, kind, says = WRONG[name]
    images = [image(0)] if toy.projector else []
    first = session.ask(FIRST, images=images, max_tokens=5)
    before = session.status()
    with pytest.raises(kind) as caught:
        ask(session)
    assert type(caught.value) is kind
    assert says in str(caught.value)
    assert session.status() == before
    check_usable(session, first, expected)


@pytest.mark.parametrize("toy", ["llama", "mamba2"], indirect=True)
def test_an_image_without_projector(
    toy: Toy, session: Session, expected: tuple[Turn, Turn]
) -> None:
    first = session.ask(FIRST, max_tokens=5)
    with pytest.raises(ProjectorError, match="--projector"):
        session.ask("Hi", images=[image(0)])
    check_usable(session, first, expected)


def test_a_prompt_longer_than_the_context(
    toy: Toy, open_session: Opens, expected: tuple[Turn, Turn]
) -> None:
    session = open_session(toy, n_ctx=256)
    images = [image(0)] if toy.projector else []
    first = session.ask(FIRST, images=images, max_tokens=5)
    text = prose(400)
    wanted = session.chat.sequence(None, first, (TextPart(text),)).n_tokens
    assert wanted > 256
    with pytest.raises(ContextFullError) as caught:
        session.ask(text)
    assert f"{wanted:,}" in str(caught.value)
    assert "256" in str(caught.value)
    check_usable(session, first, expected)


def test_a_conversation_that_fills_the_context(
    toy: Toy, open_session: Opens, monkeypatch: pytest.MonkeyPatch, expected: tuple[Turn, Turn]
) -> None:
    session = open_session(toy, n_ctx=256)
    images = [image(0)] if toy.projector else []
    first = session.ask(FIRST, images=images, max_tokens=5)
    with monkeypatch.context() as patch:
        say(patch, session.tokenize("more and "))
        full = session.ask("On and on.", max_tokens=1000)
    # It says as much as there is room for, and every token of it is in the context.
    assert full.stop == "length"
    n_tokens = oracle.sequence_of(session, full).n_tokens
    assert n_tokens == 256
    oracle.assert_exact(session, full)
    with pytest.raises(ContextFullError):
        session.ask("More?")
    # An earlier turn has room.
    session.last = first
    check_usable(session, first, expected)


@pytest.mark.parametrize("kind", [Prefill, Delta])
def test_a_listener_that_fails(
    toy: Toy, session: Session, expected: tuple[Turn, Turn], kind: type[Event]
) -> None:
    images = [image(0)] if toy.projector else []
    first = session.ask(FIRST, images=images, max_tokens=5)

    def hear(event: Event) -> None:
        if isinstance(event, kind):
            raise ZeroDivisionError("a listener's own mistake")

    with pytest.raises(ZeroDivisionError):
        session.ask("Something else.", max_tokens=9, on_event=hear)
    check_usable(session, first, expected)


def test_a_closed_session(toy: Toy, open_session: Opens) -> None:
    session = open_session(toy)
    turn = session.ask("Hi", max_tokens=3)
    session.close()
    session.close()
    for use in (lambda: session.ask("Hi"), session.status, lambda: session.tokenize("Hi")):
        with pytest.raises(UsageError, match="closed"):
            use()
    assert turn.text
    assert turn.path() == [turn]


# Files ------------------------------------------------------------------------------------------


@pytest.fixture
def fails(toy: Toy, expected: tuple[Turn, Turn]) -> Callable[..., str]:
    """Opens what must not open; gives the message, and sees that the next session works."""

    def check(kind: type[LLMagicError], model: Path, **settings: Any) -> str:
        with pytest.raises(kind) as caught:
            Session(model, loading=ONE, **settings)
        assert type(caught.value) is kind
        with Session(toy.model, projector=toy.projector, loading=ONE) as session:
            images = [image(0)] if toy.projector else []
            first = session.ask(FIRST, images=images, max_tokens=5)
            check_usable(session, first, expected)
        return str(caught.value)

    return check


def test_no_file(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "no.gguf" in fails(ModelFileError, tmp_path / "no.gguf")
    assert "folder" in fails(ModelFileError, tmp_path)


def test_files_that_are_no_models(toy: Toy, fails: Callable[..., str], tmp_path: Path) -> None:
    data = toy.model.read_bytes()
    path = tmp_path / "model.gguf"
    for content, says in (
        (b"", "0 bytes"),
        (b"GG", "GGUF"),
        (b"PK\x03\x04" + bytes(100), "PK"),
        (b"GGUF", "truncated"),
        (b"GGUF" + bytes(1000), "truncated"),
        (b"GGUF" + b"\xff" * 1000, "truncated"),
        (data[:5000], "truncated"),
        (data[: len(data) // 2], "truncated"),
        (data[:-1], "truncated"),
    ):
        path.write_bytes(content)
        assert says in fails(ModelFileError, path)


@pytest.mark.parametrize("toy", ["gemma3"], indirect=True)
def test_projectors_that_do_not_fit(
    toy: Toy, fails: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert toy.projector is not None
    assert "no.gguf" in fails(ModelFileError, toy.model, projector=tmp_path / "no.gguf")
    truncated = tmp_path / "mmproj.gguf"
    truncated.write_bytes(toy.projector.read_bytes()[:-100])
    assert "truncated" in fails(ModelFileError, toy.model, projector=truncated)
    assert "clip" in fails(ProjectorError, toy.model, projector=toy.model)
    # One made for embeddings of another size.
    monkeypatch.setattr(projectors, "N_EMBD", 96)
    other = tmp_path / "other.gguf"
    toys._write(other, "clip", projectors.PROJECTORS["gemma3"])
    assert "128" in fails(ProjectorError, toy.model, projector=other)


@pytest.mark.parametrize("toy", ["gemma3"], indirect=True)
def test_a_projector_for_a_model(toy: Toy, fails: Callable[..., str]) -> None:
    assert toy.projector is not None
    assert "is a vision projector" in fails(ModelFileError, toy.projector)


@pytest.mark.parametrize("toy", ["llama"], indirect=True)
@pytest.mark.parametrize("source", ["{% for %}", "{{ unclosed", "{% if x %}"])
def test_a_template_that_does_not_compile(toy: Toy, fails: Callable[..., str], source: str) -> None:
    assert fails(TemplateError, toy.model, template=source)


@pytest.mark.parametrize("toy", ["llama"], indirect=True)
def test_a_template_that_refuses(
    toy: Toy, open_session: Opens, expected: tuple[Turn, Turn]
) -> None:
    source = "{{ raise_exception('never') }}"
    with (
        Session(toy.model, template=source, loading=ONE) as session,
        pytest.raises(TemplateError, match="never"),
    ):
        session.ask("Hi")
    session = open_session(toy)
    check_usable(session, session.ask(FIRST, max_tokens=5), expected)


@pytest.mark.parametrize("toy", ["llama"], indirect=True)
def test_a_prompt_of_no_tokens(toy: Toy) -> None:
    """A template that writes contents alone, a vocabulary without BOS, and nothing between."""
    source = "{% for message in messages %}{{ message.content }}{% endfor %}"
    with Session(toy.model, template=source, loading=ONE) as session:
        before = session.status()
        with pytest.raises(PromptError, match="at least one token"):
            session.ask([ReplyPart("said before", ())])
        assert session.status() == before
        assert session.ask("Hi", max_tokens=2).tokens
