"""Images that come with a cell: in its own metadata, by digest, from cells above."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from llmagic.errors import ImageError
from llmagic.notebook.attachments import Attached, Attachment, Received, attachments_of
from tests.notebook.conftest import write_picture
from tests.notebook.kernel import Kernel, Outcome
from tests.toys import Toy

QUESTION = "![](attachment:x.png) What is this?"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_cells_own_metadata(kernel: Kernel, qwen35: Toy, tmp_path: Path) -> None:
    kernel.load(qwen35.model, qwen35.projector)
    data = write_picture(tmp_path / "p.png").read_bytes()
    own = {"llmagic": {"attachments": {"x.png": {"image/png": text(data)}}}}
    outcome = kernel.ask(QUESTION, "a", metadata=own)
    assert outcome.error is None, outcome.message
    assert outcome.usage["prompt"]["images"] == 1
    assert outcome.stderr == ""
    option = kernel.ask("What?", "a", "-a attachment:x.png", metadata=own)
    assert option.usage["encoded"]["images"] == 0, "the same picture"
    assert kernel.ask(QUESTION, "a").error == "ImageError", "this time it did not come"
    bad = {"llmagic": {"attachments": {"x.png": {"image/png": "%%%"}}}}
    outcome = kernel.ask(QUESTION, "a", metadata=bad)
    assert outcome.error == "ImageError"
    assert "x.png" in outcome.message


def test_digests_first_and_bytes_once(kernel: Kernel, qwen35: Toy, tmp_path: Path) -> None:
    kernel.load(qwen35.model, qwen35.projector)
    one = write_picture(tmp_path / "1.png", shade=10).read_bytes()
    two = write_picture(tmp_path / "2.png", shade=99).read_bytes()

    def ask(*cells: dict[str, Any], name: str = "q") -> Outcome:
        asking = {"id": name, "source": f"%%llm --max-tokens 8 \n{QUESTION}", "turn": None}
        last = [] if any(cell["id"] == name for cell in cells) else [asking]
        sent = {"version": 1, "notebook": "book.ipynb", "cells": [*cells, *last]}
        return kernel.ask(QUESTION, name, metadata={"llmagic": sent})

    def cell(name: str, data: bytes, *, whole: bool) -> dict[str, Any]:
        image = {"mime": "image/png", "sha256": sha(data)} | ({"data": text(data)} if whole else {})
        return {"id": name, "source": "", "turn": None, "attachments": {"x.png": image}}

    lacking = ask(cell("m", one, whole=False))
    assert lacking.error == "ImageError"
    assert "Run the cell again" in lacking.message
    first = ask(cell("m", one, whole=True))
    again = ask(cell("m", one, whole=False))
    assert again.usage["turn"] == first.usage["turn"], "the kernel has the bytes"
    nearest = ask(cell("m", one, whole=False), cell("n", two, whole=True))
    assert nearest.usage["turn"] != first.usage["turn"]
    assert nearest.usage["encoded"]["images"] == 1
    own = ask(cell("n", two, whole=False), cell("q", one, whole=False))
    assert own.usage["turn"] == first.usage["turn"], "its own goes before those above"
    below = ask(cell("q", one, whole=False), cell("n", two, whole=False))
    assert below.usage["turn"] == first.usage["turn"]
    wrong = cell("q", one, whole=True)
    wrong["attachments"]["x.png"]["sha256"] = sha(b"something else")
    assert "SHA-256" in ask(wrong).message


def test_bytes_within_a_budget() -> None:
    files = [bytes([n]) * 100 for n in range(5)]
    received = Received(budget=250)
    sent = {f"{n}.png": Attachment(sha(data), text(data)) for n, data in enumerate(files)}
    received.take(sent)
    known = {name: Attachment(each.sha256) for name, each in sent.items()}
    attached = Attached(received, known)
    assert [name in attached for name in ("0.png", "5.png")] == [True, False]
    assert attached["4.png"] == files[4]
    assert attached["3.png"] == files[3]
    with pytest.raises(ImageError, match="0.png"):
        attached["0.png"]
    assert len(attached) == 5


def test_nbformats_shape() -> None:
    assert attachments_of({"a": {"image/png": ["AA", "=="]}, "b": {"text/plain": "x"}, "c": 3}) == {
        "a": Attachment(None, "AA==")
    }
    for nonsense in (None, [], "x", {"a": None}, {3: {"image/png": "x"}}, {"a": {"image/png": 3}}):
        assert attachments_of(nonsense) == {}
