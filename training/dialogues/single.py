"""Questions about one picture, and the one right answer to each.

A turn is a function of the talk; it says something, or gives False where it cannot be asked.
With `shows` it comes with a picture of its own. Yes and no are equally frequent.
"""

from __future__ import annotations

from collections import Counter

from llmagic.demo.picture import COLOURS, SHAPES
from training.dialogues.scenes import Kind
from training.dialogues.talk import NUMBERS, ORDINALS, Talk, View, a, listed, sentence

_SHARE = (
    "", "Here is a picture.", "Look at this.", "Look.", "Here is another one.",
    "This is a picture.",
    "Have a look at this picture.", "A picture for you.", "And this one.", "See this picture.",
    "Here you go.", "Here is picture {number}.", "Next picture.", "Take a look.",
)  # fmt: skip
DESCRIBE = (
    "What do you see?", "Describe the picture.", "What is in this picture?", "What is this?",
    "Describe this.", "What can you see here?", "What does the picture show?",
    "What is shown here?",
    "Tell me what you see.", "What shapes are there?", "Please describe what you see.",
    "What's in the picture?", "What is on this picture?", "Describe it.",
)  # fmt: skip

CLEARLY = 1.35
"""How many times larger one shape is than another to be called the bigger."""


def share(talk: Talk) -> bool:
    """A picture, and nothing asked: the answer says its number and what is in it."""
    view = talk.new_view()
    n = NUMBERS[len(talk.views)]
    talk.say("describe", talk.rng.choice(_SHARE), f"Picture {n}: {listed(view.names)}.",
             shows=True, number=talk.rng.choice((n, str(len(talk.views)))))  # fmt: skip
    return True


def describe(talk: Talk, *, shows: bool = False) -> bool:
    """What is in the newest picture."""
    view = talk.new_view() if shows else talk.views[-1]
    talk.say("describe", talk.rng.choice(DESCRIBE), sentence(listed(view.names)), shows=shows)
    return True


def where_to_look(talk: Talk, shows: bool) -> tuple[View, str]:
    """A picture to ask about, and the words that say which."""
    if shows:
        return talk.new_view(), talk.rng.choice(("", "", " in this picture", " here"))
    if len(talk.views) == 1 or talk.rng.random() < 0.4:
        return talk.views[-1], talk.rng.choice(("", "", " in the picture", " in this picture"))
    i = talk.rng.randrange(len(talk.views))
    return talk.views[i], " in " + reference(talk, i)


def reference(talk: Talk, i: int) -> str:
    """Words for a picture: "the second picture"."""
    ways = [
        f"picture {NUMBERS[i + 1]}",
        f"picture {i + 1}",
        f"the {ORDINALS[i + 1]} picture",
        f"the {ORDINALS[i + 1]} one",
    ]
    if i == len(talk.views) - 1 and i:
        ways.append("the last picture")
    return talk.rng.choice(ways)


def colour(talk: Talk, *, shows: bool = False) -> bool:
    """The colour of a shape of which there is one."""
    view, where = where_to_look(talk, shows)
    counts = Counter(item.shape for item in view.objects)
    only = [item for item in view.objects if counts[item.shape] == 1]
    if not only:
        return instead(talk, shows)
    item = talk.rng.choice(only)
    question = talk.rng.choice((
        "What colour is the {shape}{where}?", "Which colour does the {shape}{where} have?",
        "What is the colour of the {shape}{where}?", "Which colour is the {shape}{where}?",
        "Tell me the colour of the {shape}{where}.", "What color is the {shape}{where}?",
        "The {shape}{where}, what colour is it?", "Colour of the {shape}{where}?",
    ))  # fmt: skip
    talk.say("colour", question, sentence(item.colour), shows=shows, shape=item.shape, where=where)
    return True


def shape(talk: Talk, *, shows: bool = False) -> bool:
    """The shape that has a colour of which there is one."""
    view, where = where_to_look(talk, shows)
    counts = Counter(item.colour for item in view.objects)
    only = [item for item in view.objects if counts[item.colour] == 1]
    if not only:
        return instead(talk, shows)
    item = talk.rng.choice(only)
    question = talk.rng.choice((
        "What shape is {colour}{where}?", "Which shape is {colour}{where}?",
        "What is the {colour} thing{where}?", "What shape is the {colour} one{where}?",
        "What is {colour}{where}?", "The {colour} thing{where}, what is it?",
    ))  # fmt: skip
    answer = sentence(a(item.shape))
    talk.say("shape", question, answer, shows=shows, colour=item.colour, where=where)
    return True


def count(talk: Talk, *, shows: bool = False) -> bool:
    """How many shapes there are, or how many of a kind."""
    view, where = where_to_look(talk, shows)
    rng = talk.rng
    if rng.random() < 0.6:
        question = rng.choice((
            "How many shapes are there{where}?", "How many shapes do you see{where}?",
            "Count the shapes{where}.", "How many things are{where}?", "How many shapes{where}?",
            "What is the number of shapes{where}?", "How many objects are there{where}?",
        )) if where else rng.choice((
            "How many shapes are there?", "How many shapes do you see?", "Count the shapes.",
            "How many shapes?", "How many things do you see?", "How many objects are there?",
        ))  # fmt: skip
        talk.say("count", question, sentence(NUMBERS[len(view.objects)]), shows=shows, where=where)
        return True
    if rng.random() < 0.5:
        word = rng.choice(view.objects).shape if rng.random() < 0.7 else rng.choice(SHAPES)
        n = sum(item.shape == word for item in view.objects)
        question = rng.choice((
            "How many {word}s are there{where}?", "How many {word}s do you see{where}?",
            "Count the {word}s{where}.", "How many {word}s{where}?",
        ))  # fmt: skip
        word = {"cross": "crosse"}.get(word, word)
    else:
        word = rng.choice(view.objects).colour if rng.random() < 0.7 else rng.choice(COLOURS)
        n = sum(item.colour == word for item in view.objects)
        question = rng.choice((
            "How many {word} shapes are there{where}?", "How many {word} shapes{where}?",
            "How many shapes are {word}{where}?", "Count the {word} shapes{where}.",
        ))  # fmt: skip
    talk.say("count", question, sentence(NUMBERS[n]), shows=shows, word=word, where=where)
    return True


def place_names(view: View) -> list[str]:
    """Where each shape of a picture stands: "on the left"."""
    n = len(view.objects)
    if n == 4:
        return ["at the top left", "at the top right", "at the bottom left", "at the bottom right"]
    ends = ("at the top", "at the bottom") if view.column else ("on the left", "on the right")
    if n == 1:
        return ["in the middle"]
    return [ends[0], ends[1]] if n == 2 else [ends[0], "in the middle", ends[1]]


def place(talk: Talk, *, shows: bool = False) -> bool:
    """Where a shape is, or what is at a place."""
    view, where = where_to_look(talk, shows)
    i = talk.rng.randrange(len(view.objects))
    item, at = view.objects[i], place_names(view)[i]
    if talk.rng.random() < 0.5:
        question = talk.rng.choice((
            "Where is the {name}{where}?", "Where do you see the {name}{where}?",
            "In which place is the {name}{where}?", "Where's the {name}{where}?",
        ))  # fmt: skip
        talk.say("place", question, sentence(at), shows=shows, where=where, name=item.name)
    else:
        question = talk.rng.choice((
            "What is {at}{where}?", "Which shape is {at}{where}?", "What do you see {at}{where}?",
            "What stands {at}{where}?",
        ))  # fmt: skip
        talk.say("place", question, sentence(a(item.name)), shows=shows, where=where, at=at)
    return True


def relation(talk: Talk, *, shows: bool = False) -> bool:
    """Left of, right of, above, below: yes or no, or what is there."""
    view, where = where_to_look(talk, shows)
    rng = talk.rng
    if len(view.objects) not in (2, 3):
        return instead(talk, shows)
    i = rng.randrange(len(view.objects) - 1)
    first, second = view.objects[i], view.objects[i + 1]
    before, behind = ("above", "below") if view.column else ("left of", "right of")
    if rng.random() < 0.5:
        (one, two, word) = rng.choice(((first, second, behind), (second, first, before)))
        question = rng.choice((
            "What is {word} the {one}{where}?", "Which shape is {word} the {one}{where}?",
            "What do you see {word} the {one}{where}?",
        ))  # fmt: skip
        answer = sentence(a(two.name))
        talk.say("place", question, answer, shows=shows, where=where, word=word, one=one.name)
        return True
    one, two = (first, second) if rng.random() < 0.5 else (second, first)
    word = rng.choice((before, behind))
    yes = (one is first) == (word == before)
    question = rng.choice((
        "Is the {one} {word} the {two}{where}?", "Is the {one} {word} the {two}{where}?",
        "Does the {one} stand {word} the {two}{where}?",
    ))  # fmt: skip
    talk.say("place", question, yes_or_no(yes), shows=shows, where=where, word=word,
             one=one.name, two=two.name)  # fmt: skip
    return True


def size(talk: Talk, *, shows: bool = False) -> bool:
    """Which of two shapes of clearly different size is the bigger or the smaller."""
    view, where = where_to_look(talk, shows)
    pairs = [
        (one, two) for one in view.objects for two in view.objects if one.size > CLEARLY * two.size
    ]
    if not pairs:
        return instead(talk, shows)
    big, small = talk.rng.choice(pairs)
    word, answer = talk.rng.choice((("bigger", big), ("larger", big), ("smaller", small)))
    one, two = (big, small) if talk.rng.random() < 0.5 else (small, big)
    question = talk.rng.choice(("Which is {word}{where}, the {one} or the {two}?",
                                "What is {word}{where}, the {one} or the {two}?"))  # fmt: skip
    talk.say("size", question, f"The {answer.name}.", shows=shows, where=where, word=word,
             one=one.name, two=two.name)  # fmt: skip
    return True


def yes_or_no(yes: bool) -> str:
    """The answer to a question whether."""
    return "Yes." if yes else "No."


def is_there(talk: Talk, *, shows: bool = False) -> bool:
    """Whether a picture has something: a kind, a shape or a colour."""
    view, where = where_to_look(talk, shows)
    rng = talk.rng
    yes = rng.random() < 0.5
    form = rng.choice(("kind", "kind", "shape", "colour"))
    item = rng.choice(view.objects)
    if form == "kind":
        thing = a(item.name if yes else " ".join(_absent(talk, view)))
    elif form == "shape":
        others = [word for word in SHAPES if word not in {one.shape for one in view.objects}]
        thing = a(item.shape if yes else rng.choice(others))
    else:
        others = [word for word in COLOURS if word not in {one.colour for one in view.objects}]
        thing = "anything " + (item.colour if yes else rng.choice(others))
    question = rng.choice((
        "Is there {thing}{where}?", "Do you see {thing}{where}?", "Can you see {thing}{where}?",
        "Is {thing} there{where}?", "Is there {thing}{where}?", "Does it show {thing}?",
        "Is there {thing} to be seen{where}?",
    ) if not where.startswith(" in ") or "this" in where else (
        "Is there {thing}{where}?", "Do you see {thing}{where}?", "Was there {thing}{where}?",
        "Did you see {thing}{where}?",
    ))  # fmt: skip
    if "Does it show" in question and view is not talk.views[-1]:
        question = "Is there {thing}{where}?"
    talk.say("is-there", question, yes_or_no(yes), shows=shows, thing=thing, where=where)
    return True


def _absent(talk: Talk, view: View) -> Kind:
    """A kind that a picture has not, but nearly: its colour, its shape, or from another picture."""
    rng = talk.rng
    has = {(item.colour, item.shape) for item in view.objects}
    elsewhere = [(item.colour, item.shape) for other in talk.views for item in other.objects]
    while True:
        item = rng.choice(view.objects)
        near: list[Kind] = [
            (item.colour, rng.choice(SHAPES)),
            (rng.choice(COLOURS), item.shape),
            (rng.choice(view.objects).colour, item.shape),
            rng.choice(elsewhere),
            (rng.choice(COLOURS), rng.choice(SHAPES)),
        ]
        kind = rng.choice(near)
        if kind not in has:
            return kind


def instead(talk: Talk, shows: bool) -> bool:
    """Where a question does not suit the new picture, describe it."""
    if not shows:
        return False
    view = talk.views[-1]
    talk.say("describe", talk.rng.choice(DESCRIBE), sentence(listed(view.names)), shows=True)
    return True
