"""The form a reply must have: a JSON schema, and the way from its text to data.

A type (pydantic model, dataclass, TypedDict, `list[Model]`) becomes a schema through pydantic, and
the reply an instance of it; a JSON schema given as such gives plain JSON data.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

from pydantic import TypeAdapter
from pydantic import ValidationError as InvalidError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticOmit

from llmagic.errors import UsageError

EXPECTED = (
    "expected a schema as JSON text, a path, a dict, a pydantic model, a dataclass or a TypedDict"
)


@dataclass(frozen=True)
class Schema:
    """What a reply must be.

    Attributes
    ----------
    text : str
        The JSON schema a reply is held to, as JSON.
    """

    text: str
    _parse: Callable[[str], Any] | None = field(default=None, repr=False, compare=False)

    def read(self, reply: str) -> Any:
        """A reply's data: an instance of the type the schema was made from, else JSON data.

        Raises
        ------
        ValueError
            The reply is no JSON, or does not fit.
        """
        if self._parse is not None:
            return self._parse(reply)
        # Here and below: with the formats it knows it takes a second to import.
        from jsonschema.exceptions import ValidationError
        from jsonschema.validators import Draft202012Validator, validator_for

        data = json.loads(reply)
        document = json.loads(self.text)
        validator = validator_for(document, default=Draft202012Validator)
        try:
            validator(document).validate(data)
        except ValidationError as error:
            raise ValueError(f"{error.json_path}: {error.message}") from None
        except re.error:
            pass  # a pattern that Python does not read; the reply was drawn by it
        return data


def schema_of(given: object, *, base: Path | None = None) -> Schema:
    """The schema somebody gave.

    Parameters
    ----------
    given
        A `Schema`; a dict or JSON text, which are JSON schemas; the path of a file with one; or a
        type pydantic knows a schema of.
    base : Path, optional
        Folder that relative paths are in; by default the current one.

    Raises
    ------
    UsageError
        It is none of these, the file cannot be read, or the JSON schema is not valid.
    """
    if isinstance(given, Schema):
        return given
    if isinstance(given, str | os.PathLike):
        text = os.fspath(given)
        if isinstance(given, os.PathLike) or not text.lstrip().startswith("{"):
            text = _file(Path(base or ".") / Path(text).expanduser())
        return Schema(_checked(_parsed(text)))
    if isinstance(given, Mapping):
        return Schema(_checked(_plain(given)))
    # `type X = ...` and what pydantic made of a type are types as well.
    is_alias = hasattr(given, "__value__")
    if isinstance(given, type | TypeAdapter) or get_origin(given) is not None or is_alias:
        return _of_type(given)
    raise UsageError(f"{EXPECTED}, and got {given!r:.200}.")


def _file(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{EXPECTED}, and {str(path)!r} cannot be read: {error}. Write its name, JSON text "
            "that begins with {, or the name of a variable."
        ) from None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"expected a schema as JSON, and it is none: {error}.") from None


def _plain(given: Mapping[str, Any]) -> Any:
    try:
        return json.loads(json.dumps(given))
    except (TypeError, ValueError) as error:
        raise UsageError(f"expected a schema that can be written as JSON: {error}.") from None


def _of_type(given: Any) -> Schema:
    try:
        adapter = given if isinstance(given, TypeAdapter) else TypeAdapter(given)
        document = adapter.json_schema()
    except (PydanticUserError, PydanticOmit, NameError, TypeError) as error:
        # What follows the first sentence is for authors of pydantic models.
        reason = re.split(r"\.\s", f"{error} ")[0]
        raise UsageError(f"{EXPECTED}, and {given!r} has no JSON schema: {reason}.") from None

    def parse(reply: str) -> Any:
        try:
            return adapter.validate_json(reply)
        except InvalidError as error:
            found = error.errors(include_url=False)[0]
            where = ".".join(map(str, ("$", *found["loc"])))
            raise ValueError(f"{where}: {found['msg']}") from None

    return Schema(_checked(document), parse)


def _checked(document: Any) -> str:
    """Its JSON text, properties in their order: a reply follows it."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    if not isinstance(document, dict):
        raise UsageError(f"expected a schema as a JSON object, and got {document!r:.100}.")
    try:
        # Without its formats: patterns are regular expressions of another language than Python's.
        kind = validator_for(document, default=Draft202012Validator)
        kind.check_schema(document, format_checker=None)
    except SchemaError as error:
        raise UsageError(
            f"expected a valid JSON schema, and at {error.json_path} {error.message}."
        ) from None
    if not _has(document, "allOf"):
        document = _closed(document)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


_OPEN = {
    "additionalProperties",
    "patternProperties",
    "unevaluatedProperties",
    "anyOf",
    "oneOf",
    "if",
    "$ref",
}
_DATA = {"const", "enum", "default", "examples"}


def _has(document: Any, keyword: str) -> bool:
    if isinstance(document, dict):
        return keyword in document or any(_has(each, keyword) for each in document.values())
    return isinstance(document, list) and any(_has(each, keyword) for each in document)


def _closed(document: Any) -> Any:
    """The same where an object that lists its properties has no others.

    JSON schema lets it have any; whoever lists some wants these, as llama.cpp's own converter
    and OpenAI's strict mode have it. An object that several schemas describe together stays.
    """
    if isinstance(document, list):
        return [_closed(each) for each in document]
    if not isinstance(document, dict):
        return document
    closed = {name: value if name in _DATA else _closed(value) for name, value in document.items()}
    if isinstance(document.get("properties"), dict) and not _OPEN & set(document):
        closed["additionalProperties"] = False
    return closed
