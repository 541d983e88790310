"""Functions that a model may call: what it is told about them, and what it is told back."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, validate_call
from pydantic import ValidationError as InvalidError
from pydantic.errors import PydanticUserError
from pydantic_core import to_jsonable_python

from llmagic.errors import UsageError
from llmagic.prompt.calls import Call
from llmagic.prompt.foreign import is_named
from llmagic.prompt.tables import markdown_table

MOST_ROUNDS = 8
"""Times a model may call tools in a turn before it answers."""


@dataclass(frozen=True)
class Tool:
    """A function as a model sees it.

    Attributes
    ----------
    name, description : str
        Of the function; its docstring.
    parameters : dict
        JSON schema of its arguments.
    function : callable or None
        None for a turn from the store: the function is known by name only.
    """

    name: str
    description: str
    parameters: dict[str, Any] = field(repr=False)
    function: Callable[..., Any] | None = field(default=None, repr=False, compare=False)

    @property
    def definition(self) -> dict[str, Any]:
        """What chat templates take (OpenAI's format)."""
        return {"type": "function", "function": self.document()}

    def document(self) -> dict[str, Any]:
        """All but the function, as JSON data."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }

    def call(self, call: Call) -> str:
        """The function's result as text for the model.

        Raises
        ------
        Exception
            Whatever the function raises; TypeError for arguments that do not fit it.
        """
        if self.function is None:
            raise UsageError(f"{self.name} is not defined; run the cell that defines it.")
        arguments = {
            name: self._typed(name, value) if call.quoted else value
            for name, value in call.arguments.items()
        }
        try:
            checked = validate_call(self.function)
        except PydanticUserError as error:
            raise TypeError(str(error)) from None
        try:
            result = checked(**arguments)
        except InvalidError as error:
            found = error.errors(include_url=False)
            what = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)
            raise TypeError(what) from None
        return result if isinstance(result, str) else _text(result)

    def _typed(self, name: str, value: str) -> Any:
        """An argument that was written without quotes, as JSON where no text may be meant."""
        kinds = _kinds(self.parameters.get("properties", {}).get(name, {}), self.parameters)
        if "string" in kinds and not (value == "null" and "null" in kinds):
            return value
        try:
            return json.loads(value)
        except ValueError:
            return value


def _kinds(schema: Mapping[str, Any], within: Mapping[str, Any]) -> set[str]:
    """The types that a schema allows, as JSON schema calls them; `within` has its definitions."""
    definitions = within.get("$defs", {})
    waiting, seen, found = [schema], set[str](), set[str]()
    while waiting:
        each = waiting.pop()
        kind = each.get("type", [])
        found |= {kind} if isinstance(kind, str) else {*kind}
        waiting += [*each.get("anyOf", ()), *each.get("oneOf", ())]
        name = str(each.get("$ref", "")).removeprefix("#/$defs/")
        if name in definitions and name not in seen:
            seen.add(name)
            waiting.append(definitions[name])
    return found


@dataclass(frozen=True)
class Use:
    """A call that was made, and what came of it; `failed` says that it is an error."""

    name: str
    arguments: dict[str, Any]
    result: str
    failed: bool = False


def tools_of(given: Iterable[object]) -> tuple[Tool, ...]:
    """The tools somebody gave: functions, or tools as they are.

    Raises
    ------
    UsageError
        One is no function with a name and a signature a model can be told, or two share a name.
    """
    tools = tuple(each if isinstance(each, Tool) else _tool(each) for each in given)
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise UsageError(f"expected tools with a name each, and got {', '.join(names)}.")
    return tools


def run(tools: Iterable[Tool], call: Call) -> Use:
    """Call a tool; what it raises is for the model to read."""
    known = {tool.name: tool for tool in tools}
    try:
        if call.name not in known:
            raise UsageError(f"there is no tool {call.name!r}; there are: {', '.join(known)}.")
        return Use(call.name, call.arguments, known[call.name].call(call))
    except Exception as error:
        if isinstance(error, KeyboardInterrupt):  # llmagic's own is both: a tool may ask a model
            raise
        return Use(call.name, call.arguments, f"{type(error).__name__}: {error}", failed=True)


def _tool(function: Any) -> Tool:
    name = getattr(function, "__name__", None)
    if not callable(function) or not isinstance(name, str):
        raise UsageError(f"expected a function as a tool, and got {function!r:.100}.")
    if not re.fullmatch(r"\w{1,64}", name) or inspect.isclass(function):
        raise UsageError(f"expected a function with a name as a tool, and got {name!r}. Use def.")
    if inspect.iscoroutinefunction(function):
        raise UsageError(f"expected a function as a tool, and {name} is a coroutine.")
    try:
        schema = TypeAdapter(function).json_schema()
    except (PydanticUserError, NameError, TypeError, ValueError) as error:
        reason = re.split(r"\.\s", f"{error} ")[0]
        raise UsageError(
            f"expected a function whose arguments have JSON schemas, and {name} has not: {reason}. "
            "Write a function with annotated arguments around it (def)."
        ) from None
    if schema.get("type") != "object":
        raise UsageError(f"expected arguments with names, and {name} takes some without.")
    schema.pop("additionalProperties", None)
    return Tool(name, inspect.getdoc(function) or "", schema, function)


def _text(result: object) -> str:
    """A result as a model reads it: a table of pandas, else JSON, of which a text is itself."""
    if is_named(result, "pandas", "DataFrame") or is_named(result, "pandas", "Series"):
        return markdown_table(result)
    try:
        data = to_jsonable_python(result, fallback=_plain)
        return data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(result)


def _plain(value: object) -> object:
    # numpy's numbers and arrays.
    return value.tolist() if hasattr(value, "tolist") else str(value)
