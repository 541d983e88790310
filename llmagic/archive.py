"""Turns that were given: in memory, and as files where there is a store."""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np

from llmagic.errors import ImageError, UsageError
from llmagic.prompt.images import Picture, picture, the_one
from llmagic.prompt.parts import ImagePart, Part, ReplyPart, TextPart
from llmagic.prompt.tools import Tool, Use
from llmagic.sequence import Sequence
from llmagic.settings import Loading, Sampling
from llmagic.store import TOUCH_SECONDS, TURN, Kind, Store
from llmagic.turns import Answer, Round, Turn, asked_key

VERSION = 1


class Archive:
    """Replies that were given, and the turns they belong to; on disk where there is a store.

    Parameters
    ----------
    store : Store or None
        None keeps them in this process only.
    fingerprint : bytes
        Of the model: another one's replies are not this one's.
    model : str
        Its name, for people who look into the store.
    most : int
        Turns kept in memory.
    picture_budget : int
        Bytes of pictures of the turns that are kept in memory.

    Attributes
    ----------
    labels : dict of str to str
        Written into every file: "model", "notebook".
    """

    def __init__(
        self,
        store: Store | None,
        fingerprint: bytes,
        model: str,
        *,
        most: int = 4096,
        picture_budget: int = Loading.image_budget,
    ) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self.labels = {"model": model}
        self._most = most
        self._picture_budget = picture_budget
        self._picture_bytes = 0
        # With the turn it is the reply of.
        self._answers: OrderedDict[bytes, tuple[Answer, str]] = OrderedDict()
        self._sources: dict[str, set[bytes]] = {}
        self._turns: OrderedDict[str, Turn] = OrderedDict()
        # When each turn was marked as used within the last minute, and all above it no earlier.
        self._touched: dict[str, float] = {}

    def put(self, before: Sequence, turn: Turn, source: str | None = None) -> None:
        """Keep a turn whose reply is complete; `source` is that of the cell that gave it."""
        key = asked_key(before, turn.sampling, self._fingerprint)
        given = Answer(turn.reply, turn.text, turn.stop, turn.thought, turn.rounds, turn.exact)
        self._keep_answer(key, given, turn.id)
        self._keep(turn)
        if self._store is None:
            return
        for part in turn.parts:
            if isinstance(part, ImagePart):
                self._put_picture(part.picture)
        self._write_turn(turn, source)
        asked = self.read(Kind.ASKED, key)
        if asked is not None and asked.get("turn") != turn.id:
            # What is there is not written again, and this is the reply that counts now.
            self._store.remove(Kind.ASKED, key)
        self.write(Kind.ASKED, key, {"version": VERSION, "turn": turn.id}, turn=turn.id)

    def stands(self, turn: Turn) -> None:
        """Note what a turn that was given again stands on now."""
        known = self._turns.get(turn.id)
        if known is None or known.after != turn.after:
            self._keep(turn)
            if self._store is not None:
                self._write_turn(turn)

    def _write_turn(self, turn: Turn, source: str | None = None) -> None:
        """Write a turn, unless it was written as it stands, or waits to be."""
        assert self._store is not None
        key = self.key(turn.id)
        document = _to_json(turn) | ({} if source is None else {"source": source})
        there = self.read(Kind.TURN, key)
        if there is not None:
            if there.get("after") == turn.after:
                return
            # What is there, or waits to be, is not written again, and it stood on another turn.
            document |= {"source": there["source"]} if "source" in there else {}
            self._store.remove(Kind.TURN, key)
        self.write(Kind.TURN, key, document)

    def answer(self, before: Sequence, sampling: Sampling) -> tuple[Answer, str] | None:
        """The reply given to this very question before, and the tier it was found in."""
        key = asked_key(before, sampling, self._fingerprint)
        known = self._answers.get(key)
        if known is not None:
            return known[0], "memory"
        asked = self.read(Kind.ASKED, key)
        turn = str(asked.get("turn")) if asked else ""
        document = self.read(Kind.TURN, self.key(turn)) if turn else None
        if document is None:
            return None
        try:
            found = _answer(document)
        except (KeyError, TypeError, ValueError):
            return None
        self._keep_answer(key, found, turn)
        return found, "disk"

    def _keep_answer(self, key: bytes, answer: Answer, turn: str) -> None:
        self._answers[key] = answer, turn
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def forget(self, turn: Turn) -> None:
        """Drop a turn: it is neither replayed nor recalled any more."""
        # By its id: it may have been drawn below other turns than it stands below now.
        for key in [key for key, (_, of) in self._answers.items() if of == turn.id]:
            del self._answers[key]
        self._drop(turn.id)
        self._sources.pop(turn.id, None)
        if self._store is not None:
            self._store.remove(Kind.TURN, self.key(turn.id))

    def touch(self, last: Turn) -> list[Turn]:
        """Mark a conversation's turns and images as used: what is in use is not evicted.

        Returns the turns that were not marked a moment ago.
        """
        if self._store is None:
            return []
        now = since = time.monotonic()
        self._touched = {turn: at for turn, at in self._touched.items() if now - at < TOUCH_SECONDS}
        old: list[Turn] = []
        for turn in reversed(last.path()):
            if turn.id in self._touched:
                since = self._touched[turn.id]
                break
            old.append(turn)
        for turn in old:
            self._touched[turn.id] = since
            self._store.touch(Kind.TURN, self.key(turn.id))
            for source in self._sources.get(turn.id, ()):
                self._store.touch(Kind.ASKED, self._source_name(turn.id, source))
            for part in turn.parts:
                if isinstance(part, ImagePart):
                    self._store.touch(Kind.IMAGE, part.picture.digest)
        return old

    def touch_file(self, kind: Kind, name: bytes) -> None:
        """Mark a document as used, where there is a store."""
        if self._store is not None:
            self._store.touch(kind, name)

    def name_source(self, turn: Turn, source: str) -> None:
        """Remember that a cell with this source gave this turn."""
        digest = _source_digest(source)
        self._sources.setdefault(turn.id, set()).add(digest)
        name = self._source_name(turn.id, digest)
        document = {"version": VERSION, "turn": turn.id, "source": True}
        self.write(Kind.ASKED, name, document, turn=turn.id)

    def recall(self, turn: str, source: str | None) -> Turn | None:
        """A turn by its id, if a cell with this source gave it; without its parent.

        `source` of None asks for any.
        """
        if source is not None and not self._came_from(turn, source):
            return None
        known = self._turns.get(turn)
        if known is not None:
            return known
        document = self.read(Kind.TURN, self.key(turn))
        if document is None:
            return None
        try:
            answer = _answer(document)
            parts = tuple(self._part(part) for part in document["parts"])
            drawn = Sampling(**document["sampling"])
            data = None if drawn.schema is None else json.loads(answer.text)
            tools = tuple(Tool(**each) for each in document.get("tools", ()))
            began = datetime.fromisoformat(each) if (each := document.get("began")) else None
        except (KeyError, TypeError, ValueError, ImageError, UsageError):
            return None
        if any(part is None for part in parts):
            return None
        found = Turn(
            turn,
            None,
            document.get("system"),
            tuple(part for part in parts if part is not None),
            answer.reply,
            answer.text,
            drawn,
            answer.stop,
            {},
            data,
            thought=answer.thought,
            after=after if isinstance(after := document.get("after"), str) else None,
            rounds=answer.rounds,
            tools=tools,
            exact=answer.exact,
            began=began,
        )
        self._keep(found)
        return found

    def source(self, turn: str) -> str | None:
        """The cell that gave a stored turn first; None where it was none, or the turn is gone."""
        document = self.read(Kind.TURN, self.key(turn)) or {}
        source = document.get("source")
        return source if isinstance(source, str) else None

    def _keep(self, turn: Turn) -> None:
        """Keep a turn in memory; the oldest go where there are too many, or too large pictures."""
        self._drop(turn.id)
        # Those above it go when it is their turn to go.
        self._turns[turn.id] = turn.standing_on(None, turn.system)
        self._picture_bytes += _picture_bytes(turn)
        while len(self._turns) > self._most or (
            self._picture_bytes > self._picture_budget and len(self._turns) > 1
        ):
            self._drop(next(iter(self._turns)))

    def _drop(self, turn: str) -> None:
        dropped = self._turns.pop(turn, None)
        if dropped is not None:
            self._picture_bytes -= _picture_bytes(dropped)

    # Disk -----------------------------------------------------------------------------------

    def _came_from(self, turn: str, source: str) -> bool:
        digest = _source_digest(source)
        if digest in self._sources.get(turn, ()):
            return True
        return self.read(Kind.ASKED, self._source_name(turn, digest)) is not None

    def key(self, turn: str) -> bytes:
        """The name of a stored turn: its id is content alone, and this has one model's tokens."""
        return hashlib.blake2b(turn.encode() + self._fingerprint, digest_size=16).digest()

    def _source_name(self, turn: str, source: bytes) -> bytes:
        return hashlib.blake2b(self.key(turn) + source, digest_size=16).digest()

    def write(
        self, kind: Kind, name: bytes, document: dict[str, Any], *, turn: str | None = None
    ) -> None:
        """Have a document written, where there is a store; without `turn` it is of no use."""
        if self._store is None:
            return
        text = np.frombuffer(json.dumps(document, ensure_ascii=True).encode(), np.uint8)
        labels = self.labels if turn is None else {**self.labels, TURN: self.key(turn).hex()}
        self._store.put(kind, name, arrays={"json": text}, meta=labels)

    def read(self, kind: Kind, name: bytes) -> dict[str, Any] | None:
        """A document that was written, or waits to be; None where it is not there, or damaged."""
        entry = self._store.get(kind, name) if self._store is not None else None
        if entry is None:
            return None
        try:
            document = json.loads(entry.arrays["json"].tobytes())
        except (KeyError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    def _put_picture(self, image: Picture) -> None:
        assert self._store is not None
        if self._store.writes and not self._store.has(Kind.IMAGE, image.digest):
            # The cell waits for it: half the time for a file that is a sixth larger.
            png = image.png(level=1)
            self._store.put(
                Kind.IMAGE,
                image.digest,
                arrays={"png": np.frombuffer(png, np.uint8)},
                meta={"size": f"{image.width}x{image.height}", **self.labels},
            )

    def _part(self, document: dict[str, Any]) -> Part | None:
        if "text" in document:
            return TextPart(str(document["text"]))
        digest = bytes.fromhex(document["image"])
        entry = self._store.get(Kind.IMAGE, digest) if self._store is not None else None
        if entry is None:
            return None
        found = the_one(picture(entry.arrays["png"].tobytes()))
        return ImagePart(found) if found.digest == digest else None


def _picture_bytes(turn: Turn) -> int:
    return sum(len(part.picture.pixels) for part in turn.parts if isinstance(part, ImagePart))


def _source_digest(source: str) -> bytes:
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).digest()


def _to_json(turn: Turn) -> dict[str, Any]:
    return {
        "version": VERSION,
        "turn": turn.id,
        "after": turn.after,
        "system": turn.system,
        "parts": [
            {"image": part.picture.digest.hex()}
            if isinstance(part, ImagePart)
            else {"text": part.text}
            for part in turn.parts
        ],
        "reply": _reply_to_json(turn.reply),
        "text": turn.text,
        "thought": turn.thought,
        "rounds": [_round_to_json(each) for each in turn.rounds],
        "tools": [tool.document() for tool in turn.tools],
        "sampling": turn.sampling.document(),
        "stop": turn.stop,
        "exact": turn.exact,
        "began": None if turn.began is None else turn.began.isoformat(),
    }


def _answer(document: dict[str, Any]) -> Answer:
    if document["version"] != VERSION:
        raise ValueError("another version")
    return Answer(
        _reply(document["reply"]),
        str(document["text"]),
        document["stop"],
        str(document.get("thought", "")),
        tuple(_round(each) for each in document.get("rounds", ())),
        bool(document.get("exact", True)),
    )


def _reply_to_json(reply: ReplyPart) -> dict[str, Any]:
    return {"tokens": list(reply.tokens), "spelled": reply.text}


def _reply(document: dict[str, Any]) -> ReplyPart:
    return ReplyPart(str(document["spelled"]), tuple(int(each) for each in document["tokens"]))


def _round_to_json(each: Round) -> dict[str, Any]:
    return {
        "reply": _reply_to_json(each.reply),
        "text": each.text,
        "thought": each.thought,
        "uses": [asdict(use) for use in each.uses],
    }


def _round(document: dict[str, Any]) -> Round:
    uses = tuple(Use(**use) for use in document["uses"])
    return Round(_reply(document["reply"]), document["text"], document["thought"], uses)
