"""Images by reference: a path, a URL, a `data:` URI or an attachment of the cell."""

from __future__ import annotations

import base64
import binascii
import http.client
import io
import itertools
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from llmagic.errors import ImageError
from llmagic.prompt.decoding import decode
from llmagic.prompt.pixels import Picture

MAX_DOWNLOAD = 20_000_000
"""Bytes."""

DOWNLOAD_TIMEOUT = 20.0
"""Seconds, for connecting and for the whole of it."""

_REMEDY = (
    "Give a path in that folder, an absolute path, a URL, a data: URI, or attachment:NAME of an "
    "image in the cell."
)


def open_reference(target: str, *, base: Path, attachments: Mapping[str, bytes]) -> Picture:
    """The picture that a reference names.

    Parameters
    ----------
    target : str
        ``http(s)://…``, ``data:…``, ``attachment:NAME``, ``file://…`` or a path; ``~`` is the
        home folder. A path or attachment is tried as it is written, then percent-decoded.
    base : Path
        The folder that relative paths start from; then the working directory is tried.
    attachments : mapping of str to bytes
        The cell's attachments by name, as files.

    Raises
    ------
    ImageError
        Naming the target, where it was looked for, and what to do.
    """
    scheme, colon, rest = target.partition(":")
    scheme = scheme.lower()
    name = shown(target)
    # One letter before the colon is a drive.
    if not colon or len(scheme) < 2 or not scheme.isalnum():
        return _from_path(target, base)
    if scheme == "attachment":
        return decode(_attachment(rest, attachments), name)
    if scheme == "data":
        return decode(_data_uri(rest, name), name)
    if scheme in ("http", "https"):
        return decode(_download(target, name), name)
    if scheme == "file":
        return _from_path(urllib.request.url2pathname(urllib.parse.urlsplit(target).path), base)
    if not rest.startswith("//"):
        return _from_path(target, base)
    raise ImageError(f"Cannot open {name}: images come over http and https only. {_REMEDY}")


def shown(target: str) -> str:
    """A target as an error message quotes it: on one line, and a long `data:` URI cut short."""
    return repr(target if len(target) <= 100 else f"{target[:60]}…{target[-20:]}")


def _from_path(target: str, base: Path) -> Picture:
    name, last = shown(target), None
    # A kernel may have been moved out of its notebook's folder with os.chdir.
    folders = list(dict.fromkeys((base, Path.cwd())))
    looked = f"looked for in {' and '.join(map(str, folders))}"
    spellings = dict.fromkeys((target, urllib.parse.unquote(target)))
    for folder, spelling in itertools.product(folders, spellings):
        try:
            path = folder / Path(spelling).expanduser()
            if not path.exists():
                continue
            # A pipe or device would be read forever.
            if not path.is_file():
                kind = "a folder" if path.is_dir() else "not a regular file"
                raise ImageError(f"{name} ({looked}) is {kind}. {_REMEDY}")
            with path.open("rb") as stream:
                return decode(stream, name)
        except (OSError, ValueError, RuntimeError) as error:  # NUL, unknown home, no permission
            last = error
    if last is not None:
        raise ImageError(f"Cannot read {name} ({looked}): {last}. {_REMEDY}") from last
    raise ImageError(f"No image {name}: {looked}, and there is no such file. {_REMEDY}")


def _attachment(name: str, attachments: Mapping[str, bytes]) -> bytes:
    for spelling in (name, urllib.parse.unquote(name)):
        if spelling in attachments:
            return bytes(attachments[spelling])
    there = ", ".join(map(shown, sorted(attachments))) or "none"
    raise ImageError(
        f"No attachment {shown(name)} came with this cell (attachments: {there}). Paste or drop "
        "the image into the cell again, or use a path."
    )


def _data_uri(rest: str, name: str) -> bytes:
    header, comma, payload = rest.partition(",")
    if not comma:
        raise ImageError(f"A data: URI reads data:image/png;base64,…; {name} has no comma.")
    try:
        data = urllib.parse.unquote_to_bytes(payload)
        if header.rpartition(";")[2].strip().lower() != "base64":
            return data
        data = b"".join(data.split()).rstrip(b"=")
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ImageError(
            f"The data of {name} is not base64: {error}. Copy the URI again, whole."
        ) from error


def _download(url: str, name: str) -> bytes:
    deadline = time.monotonic() + DOWNLOAD_TIMEOUT
    body = io.BytesIO()
    try:
        # Browsers, too, encode what a URL may not hold (spaces, umlauts) and leave the rest.
        quoted = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")
        request = urllib.request.Request(quoted, headers={"User-Agent": "llmagic"})
        with urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT) as response:
            while block := response.read1(1 << 16):
                body.write(block)
                if body.tell() > MAX_DOWNLOAD:
                    raise ImageError(
                        f"{name} is larger than {MAX_DOWNLOAD // 1_000_000} MB, the most that is "
                        "downloaded. Save a smaller copy and give its path."
                    )
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not complete after {DOWNLOAD_TIMEOUT:g} s")
            if response.length:
                raise OSError(f"the connection closed {response.length} bytes before its end")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ImageError(
            f"Cannot download {name}: {error}. Check the address and the network, or save the "
            "image and give its path."
        ) from error
    return body.getvalue()
