"""Questions that only the last rounds of the training ask, and the one right answer to each.

What is the biggest, what stands beside what (and "Nothing."), what is not there, other things
that are told, longer ones. They came when the earlier rounds had been run; in modules of their own
they leave those rounds' dialogues as they were.
"""

from __future__ import annotations

from collections import Counter

from llmagic.demo.picture import COLOURS, SHAPES
from training.dialogues.chat import TOPICS, Topic, recall_fact, tell
from training.dialogues.single import CLEARLY, instead, where_to_look, yes_or_no
from training.dialogues.talk import UNKNOWN, Talk, View, a, sentence
from training.dialogues.words import long_value


def biggest(talk: Talk, *, shows: bool = False) -> bool:
    """The biggest or the smallest shape, where there is one."""
    view, where = where_to_look(talk, shows)
    items = sorted(view.objects, key=lambda item: item.size)
    ways = []
    if len(items) > 1 and items[-1].size > CLEARLY * items[-2].size:
        ways += [(("biggest", "largest"), items[-1])]
    if len(items) > 1 and CLEARLY * items[0].size < items[1].size:
        ways += [(("smallest",), items[0])]
    if not ways:
        return instead(talk, shows)
    words, item = talk.rng.choice(ways)
    question = talk.rng.choice((
        "What is the {word} shape{where}?", "Which shape is the {word}{where}?",
        "Which is the {word}{where}?", "Which one is the {word}{where}?",
        "What is the {word} thing{where}?",
    ))  # fmt: skip
    talk.say("size", question, f"The {item.name}.", shows=shows, where=where,
             word=talk.rng.choice(words))  # fmt: skip
    return True


_TOWARDS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}


def _grid(view: View) -> list[tuple[int, int]]:
    """Column and row of each shape of a picture."""
    n = len(view.objects)
    if n == 4:
        return [(0, 0), (1, 0), (0, 1), (1, 1)]
    return [(0, i) if view.column else (i, 0) for i in range(n)]


def beside(talk: Talk, *, shows: bool = False) -> bool:
    """What stands beside a shape, or whether one stands there, in any direction."""
    view, where = where_to_look(talk, shows)
    rng = talk.rng
    places = _grid(view)
    if len(places) == 1:
        return instead(talk, shows)
    i = rng.randrange(len(places))
    one = view.objects[i]
    if rng.random() < 0.55:
        word, (right, down) = rng.choice(list(_TOWARDS.items()))
        at = (places[i][0] + right, places[i][1] + down)
        answer = sentence(a(view.objects[places.index(at)].name)) if at in places else "Nothing."
        question = rng.choice((
            "What is {word} the {one}{where}?", "Which shape is {word} the {one}{where}?",
            "What do you see {word} the {one}{where}?", "What stands {word} the {one}{where}?",
        ))  # fmt: skip
        talk.say("place", question, answer, shows=shows, where=where, word=word, one=one.name)
        return True
    j = rng.choice([j for j in range(len(places)) if j != i])
    two = view.objects[j]
    across, down = places[i][0] - places[j][0], places[i][1] - places[j][1]
    # In a square one is left of another in the row below, too, and above one in the next column.
    ways = [(word, (x * across > 0) if x else (y * down > 0)) for word, (x, y) in _TOWARDS.items()]
    yes = rng.random() < 0.5
    word = rng.choice([word for word, true in ways if true == yes])
    question = rng.choice((
        "Is the {one} {word} the {two}{where}?", "Does the {one} stand {word} the {two}{where}?",
    ))  # fmt: skip
    talk.say("place", question, yes_or_no(yes), shows=shows, where=where, word=word,
             one=one.name, two=two.name)  # fmt: skip
    return True


def absent(talk: Talk, *, shows: bool = False) -> bool:
    """The colour, shape or place of something that is not there."""
    view, where = where_to_look(talk, shows)
    rng = talk.rng
    form = rng.choice(("colour", "shape", "place"))
    if form == "place":
        has = {(item.colour, item.shape) for item in view.objects}
        near = rng.choice(view.objects)
        kind = rng.choice(((near.colour, rng.choice(SHAPES)), (rng.choice(COLOURS), near.shape)))
        if kind in has:
            return instead(talk, shows)
        question = rng.choice(
            ("Where is the {thing}{where}?", "Where do you see the {thing}{where}?")
        )
        thing, answer = " ".join(kind), f"There is no {' '.join(kind)}."
    elif form == "colour":
        there = Counter(item.shape for item in view.objects)
        thing = rng.choice([word for word in SHAPES if word not in there])
        question = rng.choice((
            "What colour is the {thing}{where}?", "Which colour does the {thing}{where} have?",
            "Which colour is the {thing}{where}?", "What color is the {thing}{where}?",
        ))  # fmt: skip
        answer = f"There is no {thing}."
    else:
        thing = rng.choice(
            [word for word in COLOURS if word not in {item.colour for item in view.objects}]
        )
        question = rng.choice((
            "What shape is {thing}{where}?", "Which shape is {thing}{where}?",
            "What is the {thing} thing{where}?", "What is {thing}{where}?",
        ))  # fmt: skip
        answer = f"There is nothing {thing}."
    talk.say("absent", question, answer, shows=shows, where=where, thing=thing)
    return True


MORE_TOPICS: dict[str, Topic] = {
    "code": Topic(
        "code",
        ("My code is {v}.", "The code is {v}.", "Remember the code {v}.", "Note the code {v}."),
        "Okay, {v}.",
        ("What is the code?", "What is my code?", "Which code did I tell you?",
         "Do you remember the code?"),
        "The code is {v}.",
    ),
    "password": Topic(
        "word",
        ("My password is {v}.", "The password is {v}.", "Remember the password {v}."),
        "Okay, {v}.",
        ("What is the password?", "What is my password?", "Do you remember the password?",
         "Tell me the password."),
        "The password is {v}.",
    ),
    **{
        who: Topic(
            "name",
            (f"My {who} is called {{v}}.", f"My {who}'s name is {{v}}.",
             f"The name of my {who} is {{v}}.", f"I have a {who} called {{v}}."),
            "Okay, {v}.",
            (f"What is my {who} called?", f"What is the name of my {who}?",
             f"What is my {who}'s name?", f"Do you know my {who}'s name?"),
            f"Your {who} is called {{v}}.",
        )
        for who in ("sister", "brother", "friend", "son", "daughter", "teacher")
    },
}  # fmt: skip
"""Beside `training.dialogues.chat.TOPICS`."""

_ALL = {**TOPICS, **MORE_TOPICS}
_LONG = ("name", "word", "number", "city", "food")


def tell_more(talk: Talk) -> bool:
    """Tell something of any topic, now and then something long."""
    rng = talk.rng
    names = list(MORE_TOPICS) if rng.random() < 0.4 else list(TOPICS)
    name = rng.choice(names)
    if name in talk.facts:
        return False
    kind = _ALL[name].kind
    long = kind == "code" or (kind in _LONG and rng.random() < 0.45)
    value = long_value(rng, kind, talk.held_out) if long else talk.value(kind)
    tell(talk, name, _ALL[name], value)
    return True


def ask_more(talk: Talk) -> bool:
    """Ask for something of any topic that was told, or never was."""
    rng = talk.rng
    told = list(talk.facts)
    if not told and rng.random() < 0.7:
        return tell_more(talk)
    if told and rng.random() < 0.65:
        name = rng.choice(told)
        recall_fact(talk, name, _ALL[name])
        return True
    untold = [name for name in _ALL if name not in talk.facts]
    talk.say("unknown", rng.choice(_ALL[rng.choice(untold)].ask), UNKNOWN)
    return True
