"""`%%llm` and `%llm`: parse a line, and hand it on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from traitlets import TraitError

from llmagic.errors import UsageError
from llmagic.notebook import completing, display, interrupts, options, panel, transforms
from llmagic.notebook.ahead import Ahead
from llmagic.notebook.asking import ask
from llmagic.notebook.commands import COMMANDS, HELP_TEXT
from llmagic.notebook.conversation import Conversation
from llmagic.notebook.defaults import Defaults
from llmagic.notebook.panel import Panel
from llmagic.notebook.runtime import Runtime

if TYPE_CHECKING:
    from llmagic.session import Session


SHELL_COMMANDS = ("cache", "check", "doctor")
"""Of `llmagic`, those that `%llm` does not have."""


@magics_class
class LLMagic(Magics, Defaults):
    """Defaults of `%%llm`: how replies are drawn, and how the next model is loaded."""

    def __init__(self, shell: Any, **kwargs: Any) -> None:
        super().__init__(shell, **kwargs)
        self._runtime = Runtime(shell, self)
        self.panel = Panel(self._runtime)
        self._commands = {command.name: command for command in COMMANDS}

    @property
    def conversation(self) -> Conversation:
        """The turns of the notebook that ran last."""
        return self._runtime.conversation

    @property
    def session(self) -> Session | None:
        """The model that is loaded."""
        return self._runtime.loaded.session

    @property
    def ahead(self) -> Ahead:
        """What encodes images between two cells."""
        return self._runtime.ahead

    @no_var_expand
    @options.cell_options
    @cell_magic("llm")
    def llm_cell(self, line: str, cell: str) -> None:
        """Ask the model: the text of the cell is the next turn of the conversation.

        In the text {name} is replaced by the value of a variable, an image at its place;
        ![](path) is an image, too; {{ and }} are braces. `%llm help` shows the rest.
        """
        if options.asks_for_help(line):
            self._commands["help"](self._runtime, "")
            return
        with interrupts.told():
            ask(self._runtime, options.parse(self.llm_cell.parser, "%%llm", line), cell)

    @no_var_expand
    @line_magic("llm")
    def llm_line(self, line: str) -> None:
        """See `commands.HELP_TEXT`, which replaces this text."""
        word, _, rest = line.strip().partition(" ")
        command = self._commands.get(word or "help")
        asked = self._commands.get(word.removesuffix("?")) if not rest.strip() else None
        if asked is not None and word.endswith("?"):
            self._runtime.show({"text/plain": asked.explanation})
        elif command is not None:
            with interrupts.told(f"%llm {command.name} was stopped."):
                command(self._runtime, rest)
        elif word in SHELL_COMMANDS and _is_no_question(rest):
            raise UsageError(
                f"%llm has no subcommand {word!r}; it is a command of the shell: "
                f"`!llmagic {line.strip()}`. `%llm help` shows the subcommands."
            )
        elif _meant_as_command(word, rest, self._commands):
            raise UsageError(
                f"%llm has no subcommand {word!r}{options.hint(word, self._commands)} "
                "If this is a question, ask it in a %%llm cell."
            )
        else:
            with interrupts.told():
                ask(self._runtime, options.parse(self.llm_cell.parser, "%llm", ""), line)

    llm_line.__doc__ = HELP_TEXT

    def close(self) -> None:
        """Free the model."""
        self._runtime.ahead.close()
        self._runtime.loaded.close()


def _meant_as_command(word: str, rest: str, commands: Iterable[str]) -> bool:
    """Whether a line that is no subcommand was probably meant to be one, not a question."""
    if not rest.strip():
        return re.fullmatch(r"[a-z_-]+", word) is not None
    if not (word.islower() and options.near(word, commands)):
        return False
    return _is_no_question(rest)


def _is_no_question(rest: str) -> bool:
    """Whether what follows a word is nothing, an option, a model, or one word that asks nothing."""
    return re.match(r"\s*($|-|\S+\.gguf\b|[^\s?]+\s*($|--))", rest) is not None


def load_ipython_extension(shell: Any) -> None:
    """Register the magics with `shell`.

    Raises
    ------
    UsageError
        A setting in `ipython_config.py` is not of its kind, or out of its range.
    """
    try:
        magics = LLMagic(shell)
    except TraitError as error:
        raise UsageError(f"{error} Change LLMagic's settings in ipython_config.py.") from None
    shell.register_magics(magics)
    shell.events.register("pre_execute", magics.ahead.pause)
    shell.events.register("post_execute", magics.ahead.resume)
    transforms.install(shell)
    completing.install(shell, magics.llm_cell.parser)
    panel.install(shell, magics.panel)


def unload_ipython_extension(shell: Any) -> None:
    """Free the model and take the magics away."""
    magics = shell.magics_manager.registry.pop(LLMagic.__name__)
    panel.remove(shell, magics.panel)
    if magics.session is not None:
        turns = len(magics.conversation.entries)
        display.notice(
            f"the model is freed, and {turns} turn{'s' * (turns != 1)} of the conversation "
            "forgotten; what is stored is replayed when the cells are run again."
        )
    shell.events.unregister("pre_execute", magics.ahead.pause)
    shell.events.unregister("post_execute", magics.ahead.resume)
    magics.close()
    shell.configurables.remove(magics)
    transforms.remove(shell)
    completing.remove(shell)
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("llm", None)
