"""Other words for what is asked elsewhere, and two pictures at once.

As `training.dialogues.late` they came when the earlier rounds had been run.
"""

from __future__ import annotations

from training.dialogues.chat import begin
from training.dialogues.late import biggest
from training.dialogues.single import (
    CLEARLY,
    colour,
    instead,
    is_there,
    shape,
    where_to_look,
    yes_or_no,
)
from training.dialogues.talk import NUMBERS, ORDINALS, Pixels, Talk, a, listed, sentence
from training.dialogues.typed import typed

_PAIR = (
    "", "", "Here are two pictures.", "What do you see?", "What is in these pictures?",
    "Describe both pictures.", "Describe them.", "Look at these two.", "What do these show?",
    "Describe these pictures.", "What can you see in these two pictures?", "Two pictures for you.",
    "What do you see in both?", "What is in them?", "Describe the pictures.",
)  # fmt: skip


def pair(talk: Talk) -> bool:
    """Two pictures in one turn: what is in them, or which has more shapes."""
    rng, first = talk.rng, len(talk.views)
    views = [talk.new_view(), talk.new_view()]
    counts = [len(view.objects) for view in views]
    numbers = [NUMBERS[first + 1], NUMBERS[first + 2]]
    if rng.random() < 0.25 and counts[0] != counts[1]:
        word = rng.choice(("more", "more", "fewer"))
        winner = 0 if (counts[0] > counts[1]) == (word == "more") else 1
        task, answer = "compare", f"Picture {numbers[winner]}."
        question = rng.choice((
            "Which has {word} shapes?", "Which picture has {word} shapes?",
            "Which of the two has {word} shapes?", "Which one has {word} shapes?",
        ))  # fmt: skip
        text = typed(rng, question, word=word)
    else:
        task, answer = (
            "describe",
            " ".join(
                f"Picture {number}: {listed(view.names)}."
                for number, view in zip(numbers, views, strict=True)
            ),
        )
        text = typed(rng, rng.choice(_PAIR))
    one, two = talk.drawn(first), talk.drawn(first + 1)
    space, between = rng.choice((" ", "\n")), rng.choice(("", " ", "\n", "\n"))
    parts: list[str | Pixels] = [one, between, two] if between else [one, two]
    draw = rng.random()
    if text and draw < 0.6:
        parts = [text + space, *parts]
    elif text and draw < 0.9:
        parts = [*parts, space + text]
    elif text:
        parts = [one, space + text + space, two]
    talk.reply(task, parts, answer)
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
    if rng.random() < 0.35:
        return biggest(talk, shows=shows) if not shows else instead(talk, shows)
    word, item = rng.choice(words)
    yes = rng.random() < 0.5
    one, two = (big, small) if (item is big) == yes else (small, big)
    shapes = [each.shape for each in view.objects]
    short = shapes.count(one.shape) == shapes.count(two.shape) == 1 and rng.random() < 0.5
    names = [each.shape if short else each.name for each in (one, two)]
    question = rng.choice((
        "Is the {one} {word} than the {two}{where}?", "Is the {one} {word} than the {two}{where}?",
        "Is the {one}{where} {word} than the {two}?",
    ))  # fmt: skip
    talk.say("size", question, yes_or_no(yes), shows=shows, where=where, word=word,
             one=names[0], two=names[1])  # fmt: skip
    return True


def only(talk: Talk, *, shows: bool = False) -> bool:
    """About the only shape of a picture, which needs no name."""
    view, where = where_to_look(talk, shows)
    rng = talk.rng
    if len(view.objects) != 1 or (where and "this" not in where and "here" not in where):
        return instead(talk, shows)
    if view is not talk.views[-1]:
        return instead(talk, shows)
    item = view.objects[0]
    draw = rng.randrange(4)
    if draw == 0:
        question = rng.choice((
            "What colour is it?", "Which colour is it?", "What's its colour?", "What color is it?",
            "Which colour does it have?",
        ))  # fmt: skip
        talk.say("colour", question, sentence(item.colour), shows=shows)
    elif draw == 1:
        question = rng.choice(("What shape is it?", "Which shape is it?", "Which shape is this?"))
        talk.say("shape", question, sentence(a(item.shape)), shows=shows)
    else:
        other = is_there if rng.random() < 0.3 else (colour if draw == 2 else shape)
        return other(talk, shows=shows) if not shows else instead(talk, shows)
    return True


def most(talk: Talk) -> bool:
    """Which of all pictures has the most or the fewest shapes, or which of two, by other names."""
    rng = talk.rng
    counts = [len(view.objects) for view in talk.views]
    if len(counts) > 2 and rng.random() < 0.45:
        word = rng.choice(("most", "most", "fewest"))
        best = max(counts) if word == "most" else min(counts)
        if counts.count(best) > 1:
            return False
        question = rng.choice((
            "Which picture has the {word} shapes?", "Which has the {word} shapes?",
            "Which one has the {word} shapes?", "In which picture are the {word} shapes?",
        ))  # fmt: skip
        talk.say("compare", question, f"Picture {NUMBERS[counts.index(best) + 1]}.", word=word)
        return True
    if len(counts) < 2:
        return False
    i, j = rng.sample(range(len(counts)), 2)
    if counts[i] == counts[j] and rng.random() < 0.6:
        return False
    word = rng.choice(("more", "more", "fewer"))
    winner = i if (counts[i] > counts[j]) == (word == "more") else j
    answer = "Neither." if counts[i] == counts[j] else f"Picture {NUMBERS[winner + 1]}."
    way = rng.randrange(3)
    names = [
        (f"picture {n + 1}", f"the {ORDINALS[n + 1]} picture", f"the {ORDINALS[n + 1]}")[way]
        for n in (i, j)
    ]
    question = rng.choice((
        "Which has {word} shapes, {one} or {two}?",
        "Which picture has {word} shapes, {one} or {two}?",
        "Are there {word} shapes in {one} or in {two}?",
    ))  # fmt: skip
    talk.say("compare", question, answer, word=word, one=names[0], two=names[1])
    return True


_BOTH: tuple[tuple[tuple[str, ...], str], ...] = (
    (("a pirate", "an old pirate"), "Arr! "),
    (("a butler", "a very polite butler", "a formal assistant"), "Certainly. "),
    (("a cheerful assistant", "a very happy assistant"), "Yay! "),
)


def begin_as(talk: Talk) -> None:
    """As `begin`; now and then a name and a tone in one sentence."""
    rng = talk.rng
    if rng.random() > 0.3:
        begin(talk)
        return
    who, talk.tone = rng.choice(_BOTH)
    talk.name = talk.value("name")
    text = rng.choice((
        "You are {v}, {who}.", "You are {who} called {v}.", "Your name is {v} and you are {who}.",
        "You are {who}. Your name is {v}.", "You are {who} named {v}.",
    ))  # fmt: skip
    talk.system(text.format(v=talk.name, who=rng.choice(who)))
