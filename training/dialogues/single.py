"""Questions about one picture, and the one right answer to each.

A turn is a function of the talk; it says something, or gives False where it cannot be asked.
With `shows` it comes with a picture of its own. Yes and no are equally frequent.
"""

from __future__ import annotations

from collections import Counter

from llmagic.demo.picture import COLOURS, SHAPES, Object
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
    "What's in the picture?", "What is on this picture?", "Describe it.", "What is in the image?",
    "Describe this image.", "List the shapes.", "What shapes do you see?", "What do we have here?",
    "Describe this picture in detail, please.", "Which shapes can you see?",
)  # fmt: skip


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


def called(talk: Talk, view: View, item: Object, briefly: float = 0.35) -> str:
    """A shape's name; sometimes its shape alone, where the picture has one of it."""
    alone = sum(other.shape == item.shape for other in view.objects) == 1
    return item.shape if alone and talk.rng.random() < briefly else item.name


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


def yes_or_no(yes: bool) -> str:
    """The answer to a question whether."""
    return "Yes." if yes else "No."


def is_there(talk: Talk, *, shows: bool = False) -> bool:
    """Whether a picture has something: a kind, a shape or a colour."""
    view, where = where_to_look(talk, shows)
    rng = talk.rng
    yes = rng.random() < 0.5
    form = rng.choice(("kind", "kind", "shape", "colour", "is it"))
    item = rng.choice(view.objects)
    if form == "is it":
        return _is_it(talk, view, where, item, yes, shows)
    if not yes and form != "colour" and rng.random() < 0.1:
        thing = _stranger(talk, form)
    elif form == "kind":
        thing = a(item.name if yes else " ".join(_absent(talk, view)))
    elif form == "shape":
        others = [word for word in SHAPES if word not in {one.shape for one in view.objects}]
        thing = a(item.shape if yes else rng.choice(others))
    else:
        others = [word for word in COLOURS if word not in {one.colour for one in view.objects}]
        thing = "anything " + (item.colour if yes else rng.choice(others))
    question = rng.choice((
        "Is there {thing}{where}?", "Do you see {thing}{where}?", "Can you see {thing}{where}?",
        "Can you find {thing}{where}?", "Is {thing} there{where}?", "Is there {thing}{where}?",
        "Does it show {thing}?", "Is there {thing} to be seen{where}?",
    ) if not where.startswith(" in ") or "this" in where else (
        "Is there {thing}{where}?", "Do you see {thing}{where}?", "Was there {thing}{where}?",
        "Did you see {thing}{where}?",
    ))  # fmt: skip
    if "Does it show" in question and view is not talk.views[-1]:
        question = "Is there {thing}{where}?"
    talk.say("is-there", question, yes_or_no(yes), shows=shows, thing=thing, where=where)
    return True


OTHER_COLOURS = ("grey", "brown", "white", "turquoise", "silver", "beige")
OTHER_SHAPES = (
    "hexagon", "pentagon", "arrow", "moon", "ring", "dog", "cat", "house", "tree", "car", "person",
    "face", "flower",
)  # fmt: skip
"""What no picture of these dialogues has; the colours are those of grounds, too."""


def _stranger(talk: Talk, form: str) -> str:
    """A kind or a shape that no picture has."""
    rng = talk.rng
    colour, shape = rng.choice(OTHER_COLOURS), rng.choice(OTHER_SHAPES)
    if form == "shape":
        return a(shape)
    return a(rng.choice((f"{colour} {rng.choice(SHAPES)}", f"{rng.choice(COLOURS)} {shape}")))


def _is_it(talk: Talk, view: View, where: str, item: Object, yes: bool, shows: bool) -> bool:
    """Whether a shape has a colour."""
    if sum(other.shape == item.shape for other in view.objects) > 1:
        return instead(talk, shows)
    near = [other.colour for other in view.objects if other.colour != item.colour]
    others = near if near and talk.rng.random() < 0.5 else [c for c in COLOURS if c != item.colour]
    colour = item.colour if yes else talk.rng.choice(others)
    question = talk.rng.choice(
        ("Is the {shape}{where} {colour}?", "Is the {shape} {colour}{where}?")
    )
    talk.say("is-there", question, yes_or_no(yes), shows=shows, where=where, shape=item.shape,
             colour=colour)  # fmt: skip
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


def only(talk: Talk, *, shows: bool = False) -> bool:
    """About the only shape of the newest picture, which needs no name."""
    view, rng = talk.new_view() if shows else talk.views[-1], talk.rng
    if len(view.objects) != 1:
        return instead(talk, shows)
    item, yes = view.objects[0], rng.random() < 0.5
    form = rng.choice(("colour", "shape", "is colour", "is shape"))
    if form == "colour":
        question = rng.choice((
            "What colour is it?", "Which colour is it?", "What's its colour?", "What color is it?",
            "Which colour does it have?",
        ))  # fmt: skip
        talk.say("colour", question, sentence(item.colour), shows=shows)
    elif form == "shape":
        question = rng.choice(("What shape is it?", "Which shape is it?", "Which shape is this?"))
        talk.say("shape", question, sentence(a(item.shape)), shows=shows)
    else:
        own, words = (item.colour, COLOURS) if form == "is colour" else (item.shape, SHAPES)
        word = own if yes else rng.choice([one for one in words if one != own])
        thing = word if form == "is colour" else a(word)
        talk.say("is-there", "Is it {thing}?", yes_or_no(yes), shows=shows, thing=thing)
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


def instead(talk: Talk, shows: bool) -> bool:
    """Where a question does not suit the new picture, describe it."""
    if not shows:
        return False
    view = talk.views[-1]
    talk.say("describe", talk.rng.choice(DESCRIBE), sentence(listed(view.names)), shows=True)
    return True
