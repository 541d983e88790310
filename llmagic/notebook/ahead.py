"""Looking at images before a cell asks for them, while nothing else runs.

The vision encoder takes much of what an image costs, and it needs neither the question nor what
stands above it. One thread encodes image after image between two cells. It never has more than
one image in the making and begins none while a cell runs: a cell that needs the model waits for
that one image at most (llama.cpp cannot stop the encoder), any other cell for nothing.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from llmagic.errors import ImageError, LLMagicError, NoModelError

if TYPE_CHECKING:
    from llmagic.prompt.images import Picture
    from llmagic.session import Session

RETRY = 0.2
"""Seconds until a session that was busy, with no cell running, is asked again."""

MOST_OFFERED = 32
"""Images that wait without anybody who shows them, at most; the oldest are forgotten."""


@dataclass(frozen=True)
class Seen:
    """What became of an image: the tokens it takes now that it is encoded, or what went wrong."""

    tokens: int = 0
    problem: str = ""


class Source(Protocol):
    """Somebody who has images and shows what becomes of them. Both are called from the thread."""

    def pictures(self) -> Sequence[Picture]:
        """The images, in the order in which to look at them."""

    def refresh(self) -> None:
        """Something is known now that was not (`Ahead.seen`), or no longer."""


class Ahead:
    """Encodes the images of its sources and those it was offered, each once for a model.

    Parameters
    ----------
    session : callable
        The session whose encoder to use; None while no model is loaded.
    """

    def __init__(self, session: Callable[[], Session | None]) -> None:
        self._session = session
        self._changed = threading.Condition()
        self._sources: weakref.WeakSet[Source] = weakref.WeakSet()
        # Files with the digests of their pictures, once they were read ("": that failed). Pixels
        # are many times larger than a file, so they are made when it is looked at.
        self._offered: dict[bytes, bytes | None] = {}
        self._thread: threading.Thread | None = None
        self._is_paused = False
        self._is_closed = False
        self._has_work = False
        # What was looked at for which session: an image whose embedding was dropped since, because
        # there are too many, would otherwise be encoded again and again.
        self._for: weakref.ReferenceType[Session] | None = None
        self._seen: dict[bytes, Seen] = {}

    def seen(self, picture: Picture) -> Seen | None:
        """What became of an image with the model that is loaded; None: nothing yet."""
        return self._seen.get(picture.digest)

    def watch(self, source: Source) -> None:
        """Look at the images of `source` while it lives; `changed` says that there are more."""
        self._sources.add(source)
        self.changed()

    def offer(self, files: Iterable[bytes]) -> None:
        """Look at image files that a cell may ask for: attachments of cells that did not run."""
        with self._changed:
            new = {file: None for file in files if file not in self._offered}
            self._offered.update(new)
            while len(self._offered) > MOST_OFFERED:
                del self._offered[next(iter(self._offered))]
        if new:
            self.changed()

    def now(self, pictures: Iterable[Picture]) -> None:
        """Encode images in the cell that runs; what goes wrong with one is in `seen`.

        Raises
        ------
        NoModelError
            No model is loaded.
        """
        session = self._session()
        if session is None:
            raise NoModelError("expected a model that looks at the images; %llm load one first.")
        self._use(session)
        for picture in pictures:
            self._look(session, picture, wait=True)
        self._refresh()

    def changed(self) -> None:
        """Say that there are new images, or another model."""
        with self._changed:
            if self._is_closed:
                return
            self._has_work = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="llmagic ahead", daemon=True)
                self._thread.start()
                # A thread inside llama.cpp would go on while the interpreter is taken apart.
                atexit.register(self.close)
            self._changed.notify()

    def pause(self) -> None:
        """A cell runs: begin nothing."""
        self._is_paused = True

    def resume(self) -> None:
        """The cell is done; it may have loaded another model."""
        with self._changed:
            self._is_paused = False
            self._has_work = True
            self._changed.notify()

    def close(self) -> None:
        """End the thread, after the image it is looking at."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        atexit.unregister(self.close)

    # The thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_closed and (self._is_paused or not self._has_work):
                    self._changed.wait()
                if self._is_closed:
                    return
                self._has_work = False
            session = self._session()
            if session is None:
                continue
            if not self._look_at_all(session):
                with self._changed:
                    self._has_work = True
                    if not self._is_paused and not self._is_closed:
                        self._changed.wait(RETRY)

    def _look_at_all(self, session: Session) -> bool:
        """Encode what is not encoded yet; False when something came in between."""
        self._use(session)
        for picture in self._pictures():
            if picture.digest in self._seen:
                continue
            if self._is_paused or self._is_closed or not self._look(session, picture, wait=False):
                return False
            self._refresh()
        return True

    def _use(self, session: Session) -> None:
        """Forget what was seen with another model."""
        if self._for is None or self._for() is not session:
            self._for, self._seen = weakref.ref(session), {}
            self._refresh()

    def _look(self, session: Session, picture: Picture, *, wait: bool) -> bool:
        """Encode an image and note what became of it; False where that would have to wait."""
        try:
            tokens = session.encode(picture, wait=wait)
        except (LLMagicError, MemoryError) as error:
            self._seen[picture.digest] = Seen(problem=str(error) or "memory ran out")
        else:
            if tokens is None:
                return False
            self._seen[picture.digest] = Seen(tokens)
        return True

    def _refresh(self) -> None:
        for source in list(self._sources):
            source.refresh()

    def _pictures(self) -> Iterator[Picture]:
        from llmagic.prompt.images import picture

        for source in list(self._sources):
            yield from source.pictures()
        with self._changed:
            offered = list(self._offered.items())
        for file, digest in offered:
            if digest is not None and (not digest or digest in self._seen):
                continue
            try:
                found = picture(file)
            except (ImageError, MemoryError):
                # What cannot be read is an error only where a prompt asks for it.
                found = None
            with self._changed:
                if file in self._offered:
                    self._offered[file] = b"" if found is None else found.digest
            if found is not None:
                yield found
