"""Images that came with a cell: which name means which bytes.

A front end names an image by the digest of its file, and sends the bytes once for each kernel
(DESIGN C3). Cells' own metadata and saved notebooks have the bytes themselves, in nbformat's shape.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llmagic.errors import ImageError

BUDGET = 256 << 20
"""Bytes of image files that are kept for cells that name them again by digest."""


@dataclass(frozen=True)
class Attachment:
    """One image file: the SHA-256 (hex) of its bytes, the bytes as base64, or both."""

    sha256: str | None
    data: str | None = None


def attachments_of(value: object) -> dict[str, Attachment]:
    """Attachments in nbformat's shape, `{name: {mime type: base64}}`; what is not is left out."""
    found: dict[str, Attachment] = {}
    if not isinstance(value, Mapping):
        return found
    for name, bundle in value.items():
        if isinstance(name, str) and isinstance(bundle, Mapping):
            for mime, data in bundle.items():
                if str(mime).startswith("image/"):
                    text = "".join(map(str, data)) if isinstance(data, list) else data
                    if isinstance(text, str):
                        found.setdefault(name, Attachment(None, text))
    return found


class Received:
    """The bytes of attachments that this kernel got, by digest; the least recently used go."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._n_bytes = 0
        self._files: OrderedDict[str, bytes] = OrderedDict()

    def take(self, attachments: Mapping[str, Attachment]) -> list[bytes]:
        """Keep the bytes that came, and give those that are new: they are not sent again."""
        new: list[bytes] = []
        for each in attachments.values():
            if each.data is None or each.sha256 is None or each.sha256 in self._files:
                continue
            try:
                data = _decoded(each.data)
            except ValueError:
                continue  # an error only where a prompt asks for it
            if hashlib.sha256(data).hexdigest() == each.sha256:
                self._files[each.sha256] = data
                self._n_bytes += len(data)
                new.append(data)
        while self._n_bytes > self._budget and len(self._files) > 1:
            self._n_bytes -= len(self._files.popitem(last=False)[1])
        return new

    def file(self, name: str, attachment: Attachment) -> bytes:
        """The bytes of an attachment.

        Raises
        ------
        ImageError
            They did not come, or are not what they are said to be.
        """
        if attachment.sha256 is not None and attachment.sha256 in self._files:
            self._files.move_to_end(attachment.sha256)
            return self._files[attachment.sha256]
        if attachment.data is None:
            raise ImageError(
                f"The image attached as {name!r} was sent to another kernel and not to this one. "
                "Run the cell again; if that does not help, save the notebook, or attach it again."
            )
        try:
            data = _decoded(attachment.data)
        except ValueError as error:
            raise ImageError(
                f"The image attached as {name!r} is not base64: {error}. Attach it again."
            ) from error
        if attachment.sha256 and hashlib.sha256(data).hexdigest() != attachment.sha256:
            raise ImageError(
                f"The image attached as {name!r} is not the one it is said to be: its SHA-256 is "
                "another. Attach it again."
            )
        return data


class Attached(Mapping[str, bytes]):
    """The attachments a cell may name, as files: its own go before those of cells above it.

    Parameters
    ----------
    received : Received
        What this kernel got.
    *attachments : dict of str to Attachment
        The nearest first.
    """

    def __init__(self, received: Received, *attachments: Mapping[str, Attachment]) -> None:
        self._received = received
        self._all: dict[str, list[Attachment]] = {}
        for some in attachments:
            for name, each in some.items():
                self._all.setdefault(name, []).append(each)

    def __contains__(self, name: object) -> bool:
        return name in self._all

    def __getitem__(self, name: str) -> bytes:
        first: ImageError | None = None
        for each in self._all[name]:
            try:
                return self._received.file(name, each)
            except ImageError as error:
                first = first or error
            # The same image may have come by another way, such as the saved notebook; another
            # image of that name would be a wrong one.
            if each.sha256 is None:
                break
        assert first is not None
        raise first

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from error
