"""Questions about the sizes of shapes in one picture, and the one right answer to each."""

from __future__ import annotations

from training.dialogues.single import called, instead, where_to_look, yes_or_no
from training.dialogues.talk import Talk

CLEARLY = 1.35
"""How many times larger one shape is than another to be called the bigger."""


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
             one=called(talk, view, one), two=called(talk, view, two))  # fmt: skip
    return True


def bigger(talk: Talk, *, shows: bool = False) -> bool:
    """Whether one shape is bigger than another, and which is where there are two."""
    view, where = where_to_look(talk, shows)
    rng = talk.rng
    pairs = [
        (one, two) for one in view.objects for two in view.objects if one.size > CLEARLY * two.size
    ]
    if not pairs:
        return instead(talk, shows)
    big, small = rng.choice(pairs)
    words = (("bigger", big), ("larger", big), ("smaller", small))
    if len(view.objects) == 2 and rng.random() < 0.4:
        word, item = rng.choice(words)
        question = rng.choice((
            "Which is {word}{where}?", "Which one is {word}{where}?", "What is {word}{where}?",
            "Which shape is {word}{where}?",
        ))  # fmt: skip
        talk.say("size", question, f"The {item.name}.", shows=shows, where=where, word=word)
        return True
    word, item = rng.choice(words)
    yes = rng.random() < 0.5
    one, two = (big, small) if (item is big) == yes else (small, big)
    names = [called(talk, view, each, 0.5) for each in (one, two)]
    question = rng.choice((
        "Is the {one} {word} than the {two}{where}?", "Is the {one} {word} than the {two}{where}?",
        "Is the {one}{where} {word} than the {two}?",
    ))  # fmt: skip
    talk.say("size", question, yes_or_no(yes), shows=shows, where=where, word=word,
             one=names[0], two=names[1])  # fmt: skip
    return True


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
