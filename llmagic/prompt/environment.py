"""The Jinja2 a chat template is written for: what `transformers` gives it, sandboxed.

A template comes with a model file, so it is a program from a stranger: it runs in Jinja2's
immutable sandbox, and whatever it raises becomes a `TemplateError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmagic.errors import TemplateError


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`, which marks replies for training: only the body."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it as a plain class attribute)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # jinja2's own filter escapes <, > and & for HTML, which no model was trained on.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: object) -> None:
    raise jinja2.TemplateError(str(message))


class Program:
    """A compiled template.

    Parameters
    ----------
    source : str
        The template.
    now : datetime
        What `strftime_now` tells. It never moves: a date that changed with the clock would
        invalidate every checkpoint at midnight.

    Attributes
    ----------
    variables : frozenset of str
        Names it reads and does not set.

    Raises
    ------
    TemplateError
        The source is not a template that Jinja2 can compile.
    """

    def __init__(self, source: str, now: datetime) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
        )
        environment.filters["tojson"] = _tojson
        self.variables = frozenset[str]()
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = now.strftime
        try:
            self._template = environment.from_string(source)
            self.variables = frozenset(meta.find_undeclared_variables(environment.parse(source)))
        except Exception as error:
            line = getattr(error, "lineno", None)
            where = f" (line {line} of the template)" if line else ""
            raise TemplateError(
                f"The chat template must be one that Jinja2 can compile, but: {error}{where}. "
                "Load the model with another template."
            ) from error

    def run(self, context: Mapping[str, object]) -> str:
        """Render with these variables.

        Raises
        ------
        TemplateError
            The template refused the messages, or failed in any other way.
        """
        try:
            return self._template.render(context)
        except Exception as error:
            what = str(error).rstrip(".") or type(error).__name__
            raise TemplateError(
                f"The chat template does not take this conversation: {what}. "
                "Change the conversation (its system prompt, say), or load the model with "
                "another template."
            ) from error
