"""A gallery of images: chosen or dropped in the browser, added from Python, used in cells."""

from __future__ import annotations

import io
import itertools
import operator
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import anywidget
import traitlets
from IPython.core.getipython import get_ipython

from llmagic.errors import ImageError, UsageError
from llmagic.prompt.images import Picture, gallery, is_image_like, picture

if TYPE_CHECKING:
    from PIL.Image import Image

    from llmagic.notebook.ahead import Ahead

THUMBNAIL = 160
"""Longer side of a thumbnail (px)."""

LARGEST_FILE = 100 << 20
"""Bytes of the largest file the browser sends; larger ones come in by their path."""


@dataclass
class _Item:
    """One image of a gallery; `id` is its name in the browser."""

    id: str
    name: str
    picture: Picture
    thumbnail: bytes = field(repr=False)


@dataclass
class _Upload:
    """A file of which parts have arrived."""

    name: str
    size: int
    parts: list[bytes] = field(default_factory=list)


class ImageUpload(anywidget.AnyWidget):
    """Images to ask about: choose or drop files, put them in order, take some out.

    In a cell `{up}` is all of its images and `{up[0]}` the first. From Python they are added with
    `add`, so it works without a browser, too. The images are kept in the kernel, none of them in
    the notebook. Between two cells they are encoded, so the cell that asks about them does not
    have to; the captions say which ones are. `encode` does it at once.

    Parameters
    ----------
    *images : object
        What `add` takes.

    Attributes
    ----------
    items : list of dict
        What the browser shows, in order: `id`, `name`, `caption`, and `state` ("waiting",
        "encoded" or "problem").
    message : str
        What went wrong with the files chosen last, "" if nothing did.

    Examples
    --------
    >>> from PIL import Image
    >>> up = ImageUpload(Image.new("RGB", (64, 48), "red"))
    >>> len(up), up[0].size
    (1, (64, 48))
    """

    _esm = Path(__file__).parent / "upload.js"
    _css = Path(__file__).parent / "upload.css"

    items = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    message = traitlets.Unicode("", read_only=True).tag(sync=True)
    largest = traitlets.Int(LARGEST_FILE, read_only=True).tag(sync=True)

    def __init__(self, *images: object) -> None:
        super().__init__()
        # The browser's messages may be handled in another thread than cells (subshells).
        self._guard = threading.RLock()
        self._held: list[_Item] = []
        self._uploads: dict[str, _Upload] = {}
        self._ids = itertools.count(1)
        self.on_msg(self._heard)
        if images:
            self.add(*images)
        else:
            self._changed()

    # Images ---------------------------------------------------------------------------------

    @property
    def images(self) -> list[Image]:
        """The images in order, as PIL images (RGB)."""
        return [each.to_pil() for each in self.pictures()]

    def pictures(self) -> list[Picture]:
        """The images in order, as the model gets them."""
        with self._guard:
            return [item.picture for item in self._held]

    # What an interpolated value gives in place of itself (llmagic.prompt.images.gallery).
    __llmagic_images__ = pictures

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Image]:
        return iter(self.images)

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> list[Image]: ...

    def __getitem__(self, index: int | slice) -> Image | list[Image]:
        found = self.pictures()
        if isinstance(index, slice):
            return [each.to_pil() for each in found[index]]
        return found[self._place(index)].to_pil()

    def __repr__(self) -> str:
        names = ", ".join(item.name for item in self._held)
        return f"ImageUpload({names or 'no images'})"

    def add(self, *images: object, name: str | None = None) -> None:
        """Add images at the end.

        Parameters
        ----------
        *images : object
            Paths, URLs, PIL images, arrays, figures and everything else a cell takes as an image;
            also lists of them.
        name : str, optional
            What to call them; by default the file's name, or what they are.

        Raises
        ------
        ImageError
            One is no image; then none is added.
        """
        values = [each for value in images for each in _flat(value)]
        added = [self._item(picture(value), name or _name_of(value)) for value in values]
        with self._guard:
            self._held += added
        self._changed()

    def encode(self) -> None:
        """Encode the images now, in this cell, instead of between two cells.

        Raises
        ------
        UsageError
            The extension is not loaded.
        NoModelError
            No model is loaded.
        """
        ahead = _ahead()
        if ahead is None:
            raise UsageError("expected llmagic in this kernel; run `%load_ext llmagic` first.")
        ahead.now(self.pictures())
        self.refresh()

    def remove(self, index: int) -> None:
        """Take the image at `index` out.

        Raises
        ------
        UsageError
            There is none.
        """
        with self._guard:
            del self._held[self._place(index)]
        self._changed()

    def move(self, index: int, to: int) -> None:
        """Put the image at `index` where it is the `to`-th.

        Raises
        ------
        UsageError
            There is none at `index`, or no place `to`.
        """
        with self._guard:
            start, stop = self._place(index), self._place(to)
            self._held.insert(stop, self._held.pop(start))
        self._changed()

    def clear(self) -> None:
        """Take all images out."""
        with self._guard:
            self._held.clear()
        self._changed()

    def _place(self, index: object) -> int:
        count = len(self._held)
        if not isinstance(index, SupportsIndex) or not -count <= operator.index(index) < count:
            raise UsageError(
                f"expected the number of one of the {count} images of this ImageUpload (from 0), "
                f"and got {index!r}."
            )
        return operator.index(index) % count

    def _item(self, found: Picture, name: str) -> _Item:
        small = found.to_pil()
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        stream = io.BytesIO()
        small.save(stream, "JPEG", quality=80)
        return _Item(str(next(self._ids)), name, found, stream.getvalue())

    # What is shown --------------------------------------------------------------------------

    def _changed(self) -> None:
        ahead = _ahead()
        if ahead is not None:
            ahead.watch(self)
        self.refresh()

    def refresh(self) -> None:
        """Show what is known of each image now."""
        ahead = _ahead()
        with self._guard:
            shown = [_described(item, ahead) for item in self._held]
            self.set_trait("items", shown)  # sends nothing where nothing changed

    def _say(self, message: str) -> None:
        self.set_trait("message", message)

    # What the browser says ------------------------------------------------------------------

    def _heard(self, _: object, content: object, buffers: Sequence[memoryview]) -> None:
        if not isinstance(content, dict):
            return
        kind = content.get("kind")
        with self._guard, suppress(UsageError):
            if kind == "begin":
                self._say("")
            elif kind == "thumbnails":
                self._send_thumbnails([str(each) for each in content.get("ids", ())])
            elif kind == "part":
                self._part(content, buffers)
            elif kind == "remove":
                self.remove(self._index(content.get("id")))
            elif kind == "move":
                to = max(0, min(int(content.get("to", 0)), len(self._held) - 1))
                self.move(self._index(content.get("id")), to)

    def _index(self, identity: object) -> int:
        for index, item in enumerate(self._held):
            if item.id == identity:
                return index
        # Removed in another view of the same widget in the meantime.
        raise UsageError(f"there is no image {identity!r}.")

    def _send_thumbnails(self, ids: Sequence[str]) -> None:
        # Not a trait: those may be saved in the notebook.
        found = [item for item in self._held if item.id in ids]
        if found:
            content = {"kind": "thumbnails", "ids": [item.id for item in found]}
            self.send(content, [item.thumbnail for item in found])

    def _part(self, content: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        """One part of a file: the server takes messages of 10 MiB at most, cameras do not know."""
        key, name, size = str(content["upload"]), str(content["name"]), int(content["size"])
        if content.get("first"):
            self._uploads[key] = _Upload(name, size)
        upload = self._uploads.get(key)
        if upload is None:
            return
        upload.parts += [bytes(each) for each in buffers]
        so_far = sum(map(len, upload.parts))
        if so_far > LARGEST_FILE:
            del self._uploads[key]
            return
        if so_far < upload.size:
            return
        del self._uploads[key]
        self.send({"kind": "taken", "upload": key}, [])
        try:
            item = self._item(picture(b"".join(upload.parts)), upload.name)
        except ImageError as error:
            # Of several files chosen together each may have something said about it.
            self._say(f"{self.message} {upload.name}: {error}".strip())
            return
        self._held.append(item)
        self._changed()


def _described(item: _Item, ahead: Ahead | None) -> dict[str, str]:
    seen = ahead.seen(item.picture) if ahead is not None else None
    size = f"{item.picture.width} × {item.picture.height}"
    if seen is None:
        state, more = "waiting", "not encoded yet"
    elif seen.problem:
        state, more = "problem", seen.problem
    else:
        state, more = "encoded", f"{seen.tokens:,} tokens, encoded"
    return {"id": item.id, "name": item.name, "caption": f"{size}, {more}", "state": state}


def _ahead() -> Ahead | None:
    """The kernel's; None where the extension is not loaded."""
    shell = get_ipython()
    magics = shell.magics_manager.registry.get("LLMagic") if shell is not None else None
    return None if magics is None else magics.ahead


def _flat(value: object) -> Iterable[object]:
    """The images in a value: of a gallery, of a list, or itself."""
    if (found := gallery(value)) is not None:
        return found
    return value if isinstance(value, list | tuple) else [value]


def _name_of(value: object) -> str:
    if isinstance(value, str):
        name = "image" if value.startswith("data:") else value.partition("?")[0].rstrip("/")
        return name.rpartition("/")[2] or "image"
    if isinstance(value, Path):
        return value.name
    filename = getattr(value, "filename", None)  # PIL's
    if isinstance(filename, str) and filename:
        return Path(filename).name
    return type(value).__name__.lower() if is_image_like(value) else "image"
