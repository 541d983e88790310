r"""A cell's text with its ``{expressions}`` and ``![images](…)``, as parts (DESIGN C1).

Rules
-----
- ``{expression}`` is evaluated when it begins with a name defined by the user and Python can
  parse it, with conversion and format spec as in an f-string. That is all that is looked at: with
  ``a`` defined, the LaTeX ``\frac{a}{b}`` has its ``a`` replaced. ``\frac{{a}}{{b}}`` does not.
- Everything else in braces stays as it was typed. A name that is not defined gives a warning.
- ``{{`` is a brace, and so is the ``}}`` that closes it; so is a ``}}`` where nothing is open.
  In ``{"a": {"b": 1}}`` each brace closes one that was opened single, and nothing changes.
- In a fenced code block every brace is code, but for a field alone on its line: ``{In[3]}``.
- ``![alt](target)`` outside of code is an image in its place. Fields in the target are replaced.
- What was substituted is never looked at again.
"""

from __future__ import annotations

import builtins
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llmagic.errors import ImageError, PromptError
from llmagic.prompt.arrays import SMALL, holes, is_matrix
from llmagic.prompt.fields import Field, field_at
from llmagic.prompt.foreign import is_named
from llmagic.prompt.images import gallery, is_image_like, open_reference, picture
from llmagic.prompt.markdown import ImageMark, fences, image_marks, plain_target
from llmagic.prompt.parts import ImagePart, TextPart
from llmagic.prompt.pixels import Picture
from llmagic.prompt.references import shown
from llmagic.prompt.tables import markdown_table

_MAX_NAMES = 10
"""Names that a warning spells out."""

_MARKUP = re.compile(r"[{}]|!\[")
_FIRST = re.compile(r"^[ \t>]*+(\{)", re.MULTILINE)
_IMAGES_ONLY = re.compile(r"!\[")
_CONVERSIONS: Mapping[str, Callable[[object], str]] = {"r": repr, "s": str, "a": ascii}
_SPEC_FIELD = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True)
class Interpolated:
    """What a text became: no two texts side by side, no empty one; warnings of one line each."""

    parts: tuple[TextPart | ImagePart, ...]
    warnings: tuple[str, ...]


def interpolate(
    text: str,
    namespace: Mapping[str, object],
    *,
    evaluate: Callable[[str], object],
    base: Path,
    attachments: Mapping[str, bytes] = MappingProxyType({}),
    expressions: bool = True,
) -> Interpolated:
    """The parts of a prompt that a user typed.

    Parameters
    ----------
    text : str
        As typed.
    namespace : mapping
        The user's names; only asked what is in it. Builtins count where they are called.
    evaluate : callable
        Gives the value of a Python expression. Called once for each field, from left to right.
    base : Path
        The folder that relative paths start from.
    attachments : mapping of str to bytes
        The cell's attachments by name.
    expressions : bool
        False leaves all braces, double ones too, as they are.

    Raises
    ------
    PromptError
        When an expression, or making text of its value, raises; that exception is its cause.
    ImageError
        When an image cannot be read.
    """
    run = _Run(text, namespace, evaluate, base, attachments, expressions)
    run.scan(text, image_marks(text))
    return Interpolated(run.parts(), run.warnings())


class _Run:
    """One interpolation under way."""

    def __init__(
        self,
        text: str,
        namespace: Mapping[str, object],
        evaluate: Callable[[str], object],
        base: Path,
        attachments: Mapping[str, bytes],
        expressions: bool,
    ) -> None:
        self._namespace = namespace
        self._evaluate = evaluate
        self._base = base
        self._attachments = attachments
        self._expressions = expressions
        self._pieces: list[str | Picture] = []
        self._undefined: dict[str, str] = {}
        # Targets of images are scanned, too; they have no blocks.
        self._text = text
        self._fences = list(fences(text)) if expressions and "{" in text else []
        # Braces that begin a line, found once: a line may be as long as the text.
        self._first = {each.start(1) for each in _FIRST.finditer(text)} if self._fences else set()
        self._notes: dict[str, None] = {}

    def parts(self) -> tuple[TextPart | ImagePart, ...]:
        parts: list[TextPart | ImagePart] = []
        texts: list[str] = []
        for piece in [*self._pieces, None]:
            if isinstance(piece, str):
                texts.append(piece)
                continue
            if text := "".join(texts):
                parts.append(TextPart(text))
            texts.clear()
            if piece is not None:
                parts.append(ImagePart(piece))
        return tuple(parts)

    def warnings(self) -> tuple[str, ...]:
        if not self._undefined:
            return tuple(self._notes)
        names, fields = list(self._undefined), list(self._undefined.values())
        stay = "stays as typed: the name" if len(names) == 1 else "stay as typed: the names"
        are = "is" if len(names) == 1 else "are"
        line = (
            f"{_listed(fields)} {stay} {_listed(names)} {are} not defined in this notebook. Double "
            "the braces to mean them."
        )
        return (line, *self._notes)

    def scan(self, text: str, marks: Mapping[int, ImageMark]) -> None:
        markup = _MARKUP if self._expressions else _IMAGES_ONLY
        doubled: list[bool] = []  # the braces that stand open: was each typed double?
        at = 0
        while found := markup.search(text, at):
            self._pieces.append(text[at : found.start()])
            if found[0] != "![" and self._is_code(text, found.start()):
                self._pieces.append(found[0])
                at = found.end()
            elif found[0] == "{":
                at = self._opening(text, found.start(), doubled)
            elif found[0] == "}":
                at = self._closing(text, found.start(), doubled)
            else:
                at = self._image(found, marks)
        self._pieces.append(text[at:])

    def _is_code(self, text: str, at: int) -> bool:
        """Whether a brace in a fenced block is code: a field counts there alone on its line."""
        fence = bisect_right(self._fences, (at, len(text))) - 1
        if text is not self._text or fence < 0 or at >= self._fences[fence][1]:
            return False
        field = field_at(text, at) if at in self._first else None
        if field is None:
            return True
        end = text.find("\n", field.stop)
        return text[field.stop : end if end >= 0 else len(text)].strip() != ""

    def _opening(self, text: str, at: int, doubled: list[bool]) -> int:
        double = text.startswith("{{", at)
        field = None if double else field_at(text, at)
        if field is not None and self._is_meant(field):
            self._substitute(field)
            return field.stop
        doubled.append(double)
        self._pieces.append("{")
        return at + 1 + double

    def _closing(self, text: str, at: int, doubled: list[bool]) -> int:
        double = text.startswith("}}", at) and (not doubled or doubled[-1])
        if doubled and doubled[-1] == double:
            doubled.pop()
        self._pieces.append("}")
        return at + 1 + double

    def _is_meant(self, field: Field) -> bool:
        called = field.expression.removeprefix(field.name).startswith("(")
        if field.name not in self._namespace and not (called and hasattr(builtins, field.name)):
            if field.is_expression and hasattr(builtins, field.name):
                self._notes[
                    f"{_quoted(field.source)} stays as typed: {field.name} is one of Python's own "
                    f"names, which count where they are called, as in {{{field.name}(…)}}. Double "
                    "the braces to mean them."
                ] = None
            elif field.name not in self._undefined and field.is_expression:
                self._undefined[field.name] = _quoted(field.source)
            return False
        if not field.is_expression:
            return False
        for inner in _SPEC_FIELD.finditer(field.spec or ""):
            nested = field_at(inner[0], 0)
            if nested is None or nested.stop < len(inner[0]) or not self._is_meant(nested):
                return False
        return True

    def _substitute(self, field: Field) -> None:
        value = self._guarded(field, lambda: self._evaluate(field.expression))
        if field.conversion or field.spec is not None:
            self._pieces.append(self._guarded(field, lambda: self._formatted(field, value)))
            return
        images = gallery(value)
        if images is None:
            images = list(value) if isinstance(value, list | tuple) and value else [value]
        elif not images:
            raise ImageError(
                f"{_quoted(field.source)} holds no images yet. Choose or drop some, or `add` them."
            )
        if all(map(is_image_like, images)):
            for image in images:
                self._pieces.append(found := self._picture(field, image))
                if is_matrix(image) and min(found.width, found.height) < SMALL:
                    self._notes[
                        f"{_quoted(field.source)} is shown as a {found.height} x {found.width} "
                        f"picture; {_as_given(field)} gives its text."
                    ] = None
        else:
            if is_matrix(value) and (count := holes(value)):
                self._notes[
                    f"{_quoted(field.source)} is given as text, not as a picture: {count} of its "
                    "values are NaN or infinite. numpy.nan_to_num replaces them; "
                    f"{_as_given(field)} says that text is meant."
                ] = None
            self._pieces.append(self._guarded(field, lambda: _as_text(value)))

    def _formatted(self, field: Field, value: object) -> str:
        if field.conversion:
            value = _CONVERSIONS[field.conversion](value)
        return format(value, _SPEC_FIELD.sub(self._spec_value, field.spec or ""))

    def _spec_value(self, inner: re.Match[str]) -> str:
        nested = field_at(inner[0], 0)
        assert nested is not None  # _is_meant has seen it
        value = self._evaluate(nested.expression)
        return self._formatted(nested, value)

    def _picture(self, field: Field, value: object) -> Picture:
        try:
            return picture(value, base=self._base)
        except ImageError as error:
            raise ImageError(f"{_quoted(field.source)}: {error}") from error

    def _guarded(self, field: Field, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:
            if isinstance(error, KeyboardInterrupt):  # llmagic's own is both
                raise
            typed = _quoted(field.source)
            raise PromptError(
                f"{typed} in the prompt raised {type(error).__name__}: {error}. Mend it, or "
                f"write {{{typed}}} if the braces are meant as text."
            ) from error

    def _image(self, found: re.Match[str], marks: Mapping[int, ImageMark]) -> int:
        mark = marks.get(found.start())
        if mark is not None and mark.target is not None:
            self._pieces.append(self._target(mark.target))
            return mark.stop
        self._pieces.append(found[0])
        if mark is not None:
            line = " ".join(found.string[mark.start : mark.start + 60].split())
            self._notes[
                f"{line!r} is not an image, because there is a space in its target: put the "
                "target in angle brackets, as in ![](<a b.png>)."
            ] = None
        return found.end()

    def _target(self, target: str) -> Picture:
        if not self._expressions or "{" not in target:
            target = plain_target(target)
            return open_reference(target, base=self._base, attachments=self._attachments)
        start = len(self._pieces)
        self.scan(target, {})
        pieces = [piece for piece in self._pieces[start:] if piece]
        del self._pieces[start:]
        if len(pieces) == 1 and isinstance(pieces[0], Picture):
            return pieces[0]
        if any(isinstance(piece, Picture) for piece in pieces):
            raise ImageError(
                f"An image's target is one image or one path, but {shown(target)} mixes them. "
                "Write {name} alone for an image in a variable."
            )
        path = "".join(map(str, pieces))
        return open_reference(path, base=self._base, attachments=self._attachments)


def _listed(words: list[str]) -> str:
    more = len(words) - _MAX_NAMES
    return ", ".join(words[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def _quoted(source: str) -> str:
    line = " ".join(source.split())
    return line if len(line) <= 80 else f"{line[:70]}…{line[-9:]}"


def _as_given(field: Field) -> str:
    return _quoted(f"{{{field.expression}!s}}")


def _as_text(value: Any) -> str:
    if is_named(value, "pandas", "DataFrame") or is_named(value, "pandas", "Series"):
        return markdown_table(value)
    return str(value)
