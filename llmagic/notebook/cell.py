"""A cell's text and image options become the parts of a message."""

from __future__ import annotations

import builtins
import re
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmagic.errors import ImageError, UsageError
from llmagic.notebook.display import notice

if TYPE_CHECKING:
    from llmagic.prompt.images import Picture
    from llmagic.prompt.parts import ImagePart, TextPart
    from llmagic.prompt.schema import Schema
    from llmagic.prompt.tools import Tool
    from llmagic.turns import Turn


def parts_of(
    shell: Any,
    text: str,
    images: Iterable[str],
    *,
    expressions: bool,
    base: Path,
    attachments: Mapping[str, bytes],
) -> tuple[TextPart | ImagePart, ...]:
    """The parts of a prompt: `images` first, then the text with what stands in it.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
        Its user namespace has the variables.
    text : str
        The cell below its first line; empty lines around it are not part of it.
    images : iterable of str
        Names of variables, paths, URLs, data URIs.
    expressions : bool
        Whether {braces} are expressions.
    base : Path
        The folder of the notebook.
    attachments : dict of str to bytes
        The images that came with the cell and those above it.

    Raises
    ------
    UsageError
        If there is neither text nor image.
    PromptError
        If an expression or an image cannot be made part of the prompt.
    """
    # Pillow is loaded on first use, not by %load_ext.
    from llmagic.prompt.interpolation import interpolate
    from llmagic.prompt.parts import ImagePart

    parts: list[TextPart | ImagePart] = [
        ImagePart(image) for name in images for image in _images(shell, name, base, attachments)
    ]
    text = text.strip("\n").rstrip()
    if text:
        found = interpolate(
            text,
            shell.user_ns,
            evaluate=partial(_evaluate, shell),
            base=base,
            attachments=attachments,
            expressions=expressions,
        )
        for warning in found.warnings:
            notice(warning)
        parts.extend(found.parts)
    if not any(isinstance(part, ImagePart) or part.text.strip() for part in parts):
        raise UsageError("expected a question or an image, and the cell has neither; write one")
    return tuple(parts)


def _evaluate(shell: Any, expression: str) -> object:
    """The value of an expression of the user's; `In[3]` is what was typed."""
    history = shell.history_manager
    is_history = history is not None and shell.user_ns.get("In") is history.input_hist_parsed
    if not is_history or re.search(r"\bIn\b", expression) is None:
        return shell.ev(expression)
    # IPython's own has magics as calls: get_ipython().run_cell_magic('llm', …).
    names = ChainMap({"In": history.input_hist_raw}, shell.user_ns)
    return eval(expression, shell.user_global_ns, names)


def tools_from(shell: Any, names: Iterable[str] | None) -> list[object] | None:
    """The functions that options name: variables, or what is reached from one with dots.

    None where no option names any.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    if names is None:
        return None
    found: list[object] = []
    for name in names:
        first, *rest = name.split(".")
        try:
            value = shell.user_ns[first]
            for each in rest:
                value = getattr(value, each)
        except (KeyError, AttributeError):
            raise UsageError(
                f"--tool expects the name of a function, and {name!r} is not defined. Run the cell "
                "that defines it."
            ) from None
        found.append(value)
    return found


def known_again(shell: Any, turn: Turn | None) -> Turn | None:
    """An earlier turn whose tools are the functions that have their names now.

    What the model was told about them stays: it stands before everything in its context.
    """
    if turn is None or not turn.tools:
        return turn

    def now(tool: Tool) -> Tool:
        function = shell.user_ns.get(tool.name, tool.function)
        # One of a module (`--tool books.spent`) is not what the notebook calls by its name.
        if not _may_replace(tool.function, function):
            function = tool.function
        return replace(tool, function=function if callable(function) else None)

    return replace(turn, tools=tuple(now(tool) for tool in turn.tools))


def _may_replace(old: Any, new: Any) -> bool:
    """Whether a variable may have taken the place of a function: it is of the same module."""
    if old is None or getattr(old, "__module__", None) == "__main__":
        return True
    names = ("__module__", "__qualname__")
    return all(getattr(old, name, None) == getattr(new, name, None) for name in names)


def schema_from(shell: Any, given: str) -> Schema:
    """The schema an option names: JSON text, a variable or an expression of one, else a file.

    Raises
    ------
    UsageError
        It is none of these, or what it names is no schema.
    """
    from llmagic.prompt.schema import schema_of

    name = re.match(r"\s*([^\W\d]\w*)", given)
    is_variable = given in shell.user_ns
    if name is not None and (is_variable or not Path(given).expanduser().exists()):
        known = name[1] in shell.user_ns or hasattr(builtins, name[1])
        if known:
            return schema_of(_value(shell, given))
        if given.isidentifier():
            raise UsageError(
                f"--schema expects a variable, a file or JSON text, and {given!r} is the name of "
                "neither. Run the cell that defines it."
            )
    return schema_of(given)


def _value(shell: Any, expression: str) -> object:
    try:
        return shell.ev(expression)
    except Exception as error:
        eaten = isinstance(error, NameError) and re.search(r"[\[(]", expression) is not None
        raise UsageError(
            f"--schema expects a variable, a file or JSON text, and {expression} raises "
            f"{type(error).__name__}: {error}"
            + ". Quotes on this line are taken off as in a shell; put others around them, as in "
            "--schema 'D[\"x\"]'." * eaten
        ) from error


def _images(shell: Any, name: str, base: Path, attachments: Mapping[str, bytes]) -> list[Picture]:
    from llmagic.prompt.images import gallery, is_image_like, open_reference, picture

    if not name.isidentifier():
        try:
            return [open_reference(name, base=base, attachments=attachments)]
        except ImageError as error:
            first = re.match(r"([^\W\d]\w*)[.\[(]", name)
            if first is None or first[1] not in shell.user_ns:
                raise
            raise ImageError(
                f"-a {name}: expected the name of a variable, a path, a URL, or attachment:NAME; "
                f"an expression is none. Put it into a variable, or write {{{name}}} in the text."
            ) from error
    if name in shell.user_ns:
        value = shell.user_ns[name]
        found = gallery(value)
        if found is not None and not found:
            raise ImageError(f"{name} holds no images yet. Choose or drop some, or `add` them.")
        if found is None:
            several = isinstance(value, list | tuple) and value and all(map(is_image_like, value))
            found = list(value) if several else [value]
        return [picture(each, base=base) for each in found]
    if not any((folder / name).exists() for folder in (base, Path.cwd())):
        raise UsageError(
            f"-a {name}: there is no variable of this name, and no file. Give a variable, a path, "
            "a URL, or attachment:NAME."
        )
    return [open_reference(name, base=base, attachments=attachments)]
