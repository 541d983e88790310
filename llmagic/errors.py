"""Every error llmagic raises on purpose, as one tree.

A message says what was expected, what came, and what to do about it. Whatever is raised, the
conversation is as it was before the cell.
"""

from __future__ import annotations

from typing import Any


class LLMagicError(Exception):
    """Base of every error of this package."""

    def _render_traceback_(self) -> list[str]:
        # IPython shows these lines instead of a traceback: the message already says what to do.
        return [f"{type(self).__name__}: {self}"]


class UsageError(LLMagicError):
    """A cell, option or argument that cannot be understood."""


class PromptError(LLMagicError):
    """A prompt that cannot be made from what the cell holds."""


class ImageError(PromptError):
    """An image that cannot be read, or is too large to be meant."""


class TemplateError(PromptError):
    """A chat template that cannot be compiled or refuses the messages."""


class ModelError(LLMagicError):
    """A model or projector that cannot be used."""


class NoModelError(ModelError):
    """A prompt was given before any model was loaded."""


class ModelFileError(ModelError):
    """A file that is missing, not a GGUF, truncated, or not of a loadable architecture."""


class HubError(ModelError):
    """A model that cannot be had from the hub: no such repository or file, no access, no way."""


class ProjectorError(ModelError):
    """A projector of another model, or an image in a prompt for a model without projector."""


class ContextFullError(LLMagicError):
    """A prompt that does not fit the context (sizes in tokens, both in the message)."""


class EvaluationError(LLMagicError):
    """llama.cpp refused to evaluate, encode or sample; its log lines are in the message."""


class ReplyError(LLMagicError):
    """A reply that is not what was asked for: cut before its end, or not of the schema's form.

    The turn is not part of the conversation.

    Attributes
    ----------
    text : str
        The reply.
    usage : dict
        What it cost (DESIGN C2).
    """

    text: str = ""
    usage: dict[str, Any] | None = None


class CheckpointError(LLMagicError):
    """A checkpoint that could not be saved or restored (a cell falls back and goes on)."""


class Interrupted(LLMagicError, KeyboardInterrupt):
    """The user interrupted the cell; its text says whether the turn is part of the conversation.

    It is a `KeyboardInterrupt`, so "Run All" stops at the cell as it does for any other.

    Attributes
    ----------
    text : str
        The reply so far.
    usage : dict
        What was done until then (DESIGN C2).
    """

    text: str = ""
    usage: dict[str, Any] | None = None
