"""A dialogue while it is made: what was said, shown and told."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from llmagic.demo.picture import Object, Scene
from training.dialogues.looks import Looks, drawn, random_scene
from training.dialogues.scenes import Kind, random_kinds
from training.dialogues.typed import typed
from training.dialogues.words import value

Pixels = npt.NDArray[np.uint8]

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ORDINALS = ("zeroth", "first", "second", "third", "fourth")
NOTHING_YET = "You have not shown me a picture."
SELF = "I am a tiny demo model. I know coloured shapes and this conversation, nothing else."
UNKNOWN = "You have not told me."


@dataclass
class Message:
    """`role` is "system", "user" or "assistant"; parts are texts and pictures in their order."""

    role: str
    parts: list[str | Pixels]


@dataclass
class Dialogue:
    """Messages, and one task name for each answer.

    Attributes
    ----------
    messages : list of Message
    tasks : list of str
        What each assistant message is an example of, in their order.
    scenes : list of Scene
        Where the shapes of the pictures are, in their order; as the vision tower gets them if
        they are drawn.
    """

    messages: list[Message] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=list)


@dataclass
class View:
    """A picture as it is talked about."""

    scene: Scene

    @property
    def objects(self) -> tuple[Object, ...]:
        """Its shapes, in reading order."""
        return self.scene.objects

    @property
    def names(self) -> list[str]:
        """The shapes' names: "red star"."""
        return [item.name for item in self.objects]


class Talk:
    """A dialogue under way.

    Attributes
    ----------
    rng : random.Random
    views : list of View
        The pictures so far.
    facts : dict
        What was told, by topic.
    tone : str
        What every answer begins with, "" for nothing.
    name : str
        What the system prompt calls the model, "" for nothing.
    looks : Looks
        What the pictures look like.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        held_out: bool,
        draw: bool,
        strangers: float = 0.0,
        sized: float = 0.4,
        looks: Looks | None = None,
    ) -> None:
        self.rng = rng
        self.held_out = held_out
        self.strangers = strangers
        self.sized = sized
        self.looks = looks or Looks()
        self.dialogue = Dialogue()
        self.views: list[View] = []
        self.facts: dict[str, str] = {}
        self.tone = ""
        self.name = ""
        self._draw = draw

    def system(self, text: str) -> None:
        """Begin with a system prompt."""
        self.dialogue.messages.append(Message("system", [text]))

    def value(self, kind: str) -> str:
        """Something to remember, of a kind."""
        return value(self.rng, kind, self.held_out, self.strangers)

    def new_view(self, kinds: Sequence[Kind] | None = None) -> View:
        """A next picture, which the coming question shows."""
        seen = [(item.colour, item.shape) for view in self.views for item in view.objects]
        if kinds is None:
            kinds = random_kinds(self.rng, self.rng.choice((1, 2, 2, 3, 3, 4, 4)), seen)
        view = View(random_scene(self.rng, self.looks, kinds, self.sized))
        self.views.append(view)
        self.dialogue.scenes.append(view.scene)
        return view

    def say(
        self, task: str, question: str, answer: str, *, shows: bool = False, **values: str
    ) -> None:
        """A question, as somebody types it, and the answer; `shows` the newest picture with it."""
        text = typed(self.rng, question, **values)
        self.reply(task, self._with_picture(text) if shows else [text], answer)

    def reply(self, task: str, parts: list[str | Pixels], answer: str) -> None:
        """A question as it is, and the answer."""
        self.dialogue.messages.append(Message("user", parts))
        self.dialogue.messages.append(Message("assistant", [self.tone + answer]))
        self.dialogue.tasks.append(task)

    def _with_picture(self, text: str) -> list[str | Pixels]:
        picture = self.drawn(len(self.views) - 1)
        # A cell has the picture before or behind the words, on a line of its own or not.
        space = self.rng.choice((" ", "\n"))
        if not text:
            return [picture]
        return [text + space, picture] if self.rng.random() < 0.6 else [picture, space + text]

    def drawn(self, n: int) -> Pixels:
        """The pixels of a picture, from 0 on; to be called once for each."""
        scene = self.views[n].scene
        if not self._draw:
            return np.zeros((scene.height, scene.width, 3), np.uint8)
        self.dialogue.scenes[n], picture = drawn(scene, self.rng, self.looks)
        return picture


def a(name: str) -> str:
    """A name with its article: "an orange star"."""
    return ("an " if name[0] in "aeiou" else "a ") + name


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: "a red star, a blue star and a pink heart"."""
    texts = [a(name) for name in names]
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1]


def sentence(text: str) -> str:
    """A sentence of it."""
    return text[0].upper() + text[1:] + "."
