"""What a subcommand of `%llm` is."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from IPython.core.magic_arguments import MagicArgumentParser

from llmagic.errors import UsageError
from llmagic.notebook import options
from llmagic.notebook.runtime import Runtime


@dataclass(frozen=True)
class Argument:
    """One argument, as `argparse` takes it."""

    names: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_option(self) -> bool:
        return self.names[0].startswith("-")


def argument(*names: str, **settings: Any) -> Argument:
    """An argument of a subcommand; what `argparse` knows, and always with `help`."""
    return Argument(names, settings)


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes
    ----------
    name : str
    help : str
        What it does, in half a line.
    run : callable
        Does it; gets the kernel's `Runtime` and the arguments.
    arguments : tuple of Argument
    """

    name: str
    help: str
    run: Callable[[Runtime, argparse.Namespace], None]
    arguments: tuple[Argument, ...] = ()

    @property
    def usage(self) -> str:
        """How it is written: `%llm load PATH [--projector PATH]`."""
        return " ".join(["%llm", self.name, *map(_usage, self.arguments)])

    @property
    def explanation(self) -> str:
        """The same with what each argument means."""
        parser = self._parser()
        parser.usage, parser.description = self.usage.replace("%", "%%"), self.help
        return parser.format_help().rstrip()

    def __call__(self, runtime: Runtime, line: str) -> None:
        """Run it with what follows it on its line.

        Raises
        ------
        UsageError
            The line has other arguments than `arguments`.
        """
        if options.asks_for_help(line):
            runtime.show({"text/plain": self.explanation})
            return
        positional = any(not argument.is_option for argument in self.arguments)
        if line.strip() and not positional and not line.lstrip().startswith("-"):
            alone = "takes no text" if self.arguments else "stands alone"
            raise UsageError(
                f"%llm {self.name} {alone}, but {line.strip()!r} follows. If this is a "
                "question, ask it in a %%llm cell."
            )
        line = options.expand_words(line, runtime.shell.user_ns)
        self.run(runtime, options.parse(self._parser(), f"%llm {self.name}", line))

    def _parser(self) -> argparse.ArgumentParser:
        parser = MagicArgumentParser(prog=f"%llm {self.name}")
        for argument in self.arguments:
            parser.add_argument(*argument.names, **argument.settings)
        return parser


def _usage(argument: Argument) -> str:
    metavar = str(argument.settings.get("metavar", argument.names[0]))
    if not argument.is_option:
        many = "..." if argument.settings.get("nargs") == "*" else ""
        return f"[{metavar}{many}]" if argument.settings.get("nargs") in ("?", "*") else metavar
    switch = argument.settings.get("action") == "store_true"
    return f"[{argument.names[-1]}]" if switch else f"[{argument.names[-1]} {metavar}]"
