"""The Jinja2 a chat template is written for: what `transformers` gives it, sandboxed.

A template comes with a model file, so it is a program from a stranger: it runs in Jinja2's
immutable sandbox, and whatever it raises becomes a `TemplateError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import accumulate, islice

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmagic.errors import TemplateError
from llmagic.recent import Recent
from llmagic.vector import Vector

END = "\U000ffffe"
"""No character: stands after each message while they are rendered one by one (`_Divided`)."""

SOME_DAY = datetime(2024, 7, 26)
"""What Llama's templates take for the date where none is given."""

_PLAIN = (
    *(nodes.Template, nodes.For, nodes.If, nodes.Output, nodes.TemplateData, nodes.Expr),
    *(nodes.Pair, nodes.Keyword, nodes.Operand),
)
"""What a template may be made of to be rendered message by message; no assignments, blocks,
macros, and nothing that leaves a loop."""


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

    Attributes
    ----------
    variables : frozenset of str
        Names it reads and does not set.

    Raises
    ------
    TemplateError
        The source is not a template that Jinja2 can compile.
    """

    def __init__(self, source: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
        )
        environment.filters["tojson"] = _tojson
        self.variables = frozenset[str]()
        environment.globals["raise_exception"] = _raise_exception
        try:
            self._template = environment.from_string(source)
            tree = environment.parse(source)
            self.variables = frozenset(meta.find_undeclared_variables(tree))
            self._divided = _divided(environment, tree)
        except Exception as error:
            line = getattr(error, "lineno", None)
            where = f" (line {line} of the template)" if line else ""
            raise TemplateError(
                f"The chat template must be one that Jinja2 can compile, but: {error}{where}. "
                "Load the model with another template."
            ) from error

    def run(self, context: Mapping[str, object], now: datetime = SOME_DAY) -> str:
        """Render with these variables.

        Parameters
        ----------
        context : dict of str to object
        now : datetime
            What `strftime_now` tells.

        Raises
        ------
        TemplateError
            The template refused the messages, or failed in any other way.
        """
        # Two of the same date look the same (`_Divided`).
        context = {"strftime_now": partial(datetime.strftime, now), **context}
        try:
            text = None if self._divided is None else self._divided.run(context)
            if text is not None:
                return text
            # Templates index and slice messages.
            lists = {n: [*v] if isinstance(v, Vector) else v for n, v in context.items()}
            return self._template.render(lists)
        except Exception as error:
            what = str(error).rstrip(".") or type(error).__name__
            raise TemplateError(
                f"The chat template does not take this conversation: {what}. "
                "Change the conversation (its system prompt, say), or load the model with "
                "another template."
            ) from error


class _Divided:
    """A template that writes each message without a look at the others.

    Then the text of a long conversation is that of its messages, which are rendered once. That a
    template is of this kind is read off its source: what stands before, in and after the loop is
    compiled apart.
    """

    def __init__(
        self, before: jinja2.Template, message: jinja2.Template, after: jinja2.Template
    ) -> None:
        self._before, self._message, self._after = before, message, after
        # The text of all messages, and where each ends in it.
        self._recent = Recent[tuple[str, Vector[int]]]()

    def run(self, context: Mapping[str, object]) -> str | None:
        """Render with these variables; None where the messages cannot be told apart."""
        rest = dict(context)
        messages = rest.pop("messages")
        assert isinstance(messages, Sequence)
        items: Vector[Mapping[str, object]] = Vector(messages)
        key = repr(rest)
        n, known = self._recent.nearest(items, key)
        new = items[n:]
        *texts, end = self._message.render({**rest, "messages": new}).split(END)
        if end or len(texts) != len(new):
            return None
        text, ends = known if known is not None else ("", Vector[int]())
        start = ends[n - 1] if n else 0
        text = "".join((text[:start], *texts))
        ends = ends.first(n).plus(islice(accumulate(map(len, texts), initial=start), 1, None))
        self._recent.keep(items, (text, ends), key)
        return "".join((self._before.render(rest), text, self._after.render(rest)))


def _divided(environment: jinja2.Environment, tree: nodes.Template) -> _Divided | None:
    """The template in three parts; None where a message may depend on others."""
    names = [name.name for name in tree.find_all(nodes.Name)]
    loops = [node for node in tree.body if isinstance(node, nodes.For)]
    if names.count("messages") != 1 or "loop" in names or len(loops) != 1:
        return None
    (loop,) = loops
    over = isinstance(loop.iter, nodes.Name) and loop.iter.name == "messages"
    plain = all(isinstance(node, _PLAIN) for node in tree.find_all(nodes.Node))
    if not over or not plain or loop.else_ or loop.test is not None or loop.recursive:
        return None
    at = tree.body.index(loop)
    end = nodes.Output([nodes.TemplateData(END)], lineno=loop.lineno)
    single = nodes.For(
        loop.target, loop.iter, [*loop.body, end], [], None, False, lineno=loop.lineno
    )

    def compiled(body: list[nodes.Node]) -> jinja2.Template:
        part = nodes.Template(body, lineno=1)
        part.set_environment(environment)
        code = environment.compile(part)
        return jinja2.Template.from_code(environment, code, environment.make_globals(None))

    before, after = tree.body[:at], tree.body[at + 1 :]
    return _Divided(compiled(before), compiled([single]), compiled(after))
