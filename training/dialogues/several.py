"""Questions about several pictures, and the one right answer to each.

A turn is a function of the talk; it says something, or gives False where it cannot be asked.
Every picture is asked about equally often, and a quarter of the questions for a picture have the
answer "None of them.".
"""

from __future__ import annotations

from collections import Counter

from llmagic.demo.picture import COLOURS, SHAPES, Object
from training.dialogues.single import DESCRIBE, reference, yes_or_no
from training.dialogues.talk import (
    NOTHING_YET,
    NUMBERS,
    ORDINALS,
    Pixels,
    Talk,
    View,
    a,
    listed,
    sentence,
)
from training.dialogues.typed import typed

NONE = "None of them."


def recall(talk: Talk) -> bool:
    """What was in the n-th picture."""
    rng = talk.rng
    i = rng.randrange(len(talk.views))
    question = rng.choice((
        "What was in {it}?", "What did {it} show?", "Describe {it}.", "What is in {it}?",
        "What did you see in {it}?", "Tell me again what was in {it}.", "And what was in {it}?",
        "Do you remember {it}?", "What shapes were in {it}?",
    ))  # fmt: skip
    talk.say("recall", question, sentence(listed(talk.views[i].names)), it=reference(talk, i))
    return True


def which(talk: Talk) -> bool:
    """Which pictures had something; mostly what exactly one of them, or none, had."""
    rng = talk.rng
    form = rng.choice(("kind", "kind", "shape", "colour"))

    def features(item: Object) -> str:
        return {"kind": item.name, "shape": item.shape, "colour": item.colour}[form]

    sets = [{features(item) for item in view.objects} for view in talk.views]
    counts = Counter(feature for one in sets for feature in one)
    several = sorted(feature for feature in counts if counts[feature] > 1)
    if several and rng.random() < 0.15:
        thing = rng.choice(several)
        have = [NUMBERS[i] for i, one in enumerate(sets, 1) if thing in one]
        task = "which"
        answer = f"Pictures {', '.join(have[:-1])} and {have[-1]}."
    elif rng.random() < 0.25:
        thing = _nowhere(talk, form, set(counts))
        task, answer = "none", NONE
    else:
        i = rng.randrange(len(sets))
        own = sorted(feature for feature in sets[i] if counts[feature] == 1)
        if not own:
            return False
        thing = rng.choice(own)
        task, answer = "which", f"Picture {NUMBERS[i + 1]}."
    if not thing:
        return False
    thing = (
        f"something {thing}"
        if form == "colour"
        else f"{rng.choice(('the', a(thing)[: -len(thing)].strip()))} {thing}"
    )
    question = rng.choice((
        "Which pictures had {thing}?", "Which pictures have {thing}?",
        "In which pictures was {thing}?", "Which of the pictures show {thing}?",
        "In which pictures did you see {thing}?",
    ) if answer.startswith("Pictures") or rng.random() < 0.05 else (
        "Which picture had {thing}?", "Which picture has {thing}?", "Which one had {thing}?",
        "In which picture was {thing}?", "In which picture did you see {thing}?",
        "Which of the pictures shows {thing}?", "Where did you see {thing}, which picture?",
    ))  # fmt: skip
    talk.say(task, question, answer, thing=thing)
    return True


def _nowhere(talk: Talk, form: str, has: set[str]) -> str:
    """A feature of no picture; a kind made of features that there are, mostly."""
    rng = talk.rng
    items = [item for view in talk.views for item in view.objects]
    for _ in range(20):
        if form == "kind":
            near = rng.random() < 0.75
            colour = rng.choice(items).colour if near else rng.choice(COLOURS)
            shape = rng.choice(items).shape if rng.random() < 0.75 else rng.choice(SHAPES)
            thing = f"{colour} {shape}"
        else:
            thing = rng.choice(SHAPES if form == "shape" else COLOURS)
        if thing not in has:
            return thing
    return ""


def how_many_pictures(talk: Talk) -> bool:
    """How many pictures so far."""
    question = talk.rng.choice((
        "How many pictures have I shown you?", "How many pictures so far?",
        "How many pictures were there?", "How many pictures did you see?",
        "How many images have I sent?", "Count the pictures so far.",
    ))  # fmt: skip
    talk.say("pictures", question, sentence(NUMBERS[len(talk.views)]))
    return True


def compare(talk: Talk) -> bool:
    """More shapes, as many shapes, something in both."""
    rng = talk.rng
    i, j = rng.sample(range(len(talk.views)), 2)
    one, two = talk.views[i], talk.views[j]
    n = (len(one.objects), len(two.objects))
    names = _names(talk, i, j)
    form = rng.choice(("more", "more", "same", "both", "both"))
    if form == "more":
        word = rng.choice(("more", "more", "fewer"))
        if n[0] == n[1] and rng.random() < 0.5:
            return False
        winner = i if (n[0] > n[1]) == (word == "more") else j
        answer = "Neither." if n[0] == n[1] else f"Picture {NUMBERS[winner + 1]}."
        question = rng.choice((
            "Which has {word} shapes, {one} or {two}?",
            "Which picture has {word} shapes, {one} or {two}?",
            "Are there {word} shapes in {one} or in {two}?",
        ))  # fmt: skip
        if rng.random() < 0.3:
            question = "Does {one} have {word} shapes than {two}?"
            answer = yes_or_no(n[0] != n[1] and winner == i)
        talk.say("compare", question, answer, word=word, **names)
        return True
    if form == "same":
        if n[0] != n[1] and rng.random() < 0.6:
            return False
        question = rng.choice((
            "Do {one} and {two} have the same number of shapes?",
            "Are there as many shapes in {one} as in {two}?",
            "Is the number of shapes the same in {one} and {two}?",
        ))  # fmt: skip
        talk.say("compare", question, yes_or_no(n[0] == n[1]), **names)
        return True
    return _both(talk, one, two, names)


def _names(talk: Talk, i: int, j: int) -> dict[str, str]:
    """Words for two pictures."""
    way = talk.rng.choices(range(4), (5, 2, 2, 1))[0]
    one, two = (
        (
            f"picture {NUMBERS[n + 1]}",
            f"picture {n + 1}",
            f"the {ORDINALS[n + 1]} picture",
            f"the {ORDINALS[n + 1]}",
        )[way]
        for n in (i, j)
    )
    return {"one": one, "two": two}


def both(talk: Talk) -> bool:
    """Something in both of two pictures."""
    i, j = talk.rng.sample(range(len(talk.views)), 2)
    names = _names(talk, i, j)
    return _both(talk, talk.views[i], talk.views[j], names)


def _both(talk: Talk, one: View, two: View, names: dict[str, str]) -> bool:
    rng = talk.rng
    feature = rng.choice(("shape", "colour"))
    has = [{getattr(item, feature) for item in view.objects} for view in (one, two)]
    common, single = sorted(has[0] & has[1]), sorted(has[0] ^ has[1])
    yes = rng.random() < 0.5
    choices = common if yes else single
    if not choices:
        return False
    word = rng.choice(choices)
    thing = a(word) if feature == "shape" else f"something {word}"
    question = rng.choice((
        "Is there {thing} in both {one} and {two}?", "Do both {one} and {two} have {thing}?",
        "Do {one} and {two} both show {thing}?",
    ))  # fmt: skip
    talk.say("compare", question, yes_or_no(yes), thing=thing, **names)
    return True


def missing_picture(talk: Talk) -> bool:
    """About a picture that was never shown."""
    rng = talk.rng
    if not talk.views:
        question = rng.choice((
            *DESCRIBE, "How many shapes are there?", "Is there a star?",
            "What was in the first picture?", "What colour is the circle?",
        ))  # fmt: skip
        talk.say("missing", question, NOTHING_YET)
        return True
    i = rng.randrange(len(talk.views), 4) if len(talk.views) < 4 else 4
    number = ("five", "5", "fifth") if i == 4 else (NUMBERS[i + 1], str(i + 1), ORDINALS[i + 1])
    it = rng.choice((f"picture {number[0]}", f"picture {number[1]}", f"the {number[2]} picture"))
    question = rng.choice(("What was in {it}?", "Describe {it}.", "What did {it} show?"))
    talk.say("missing", question, f"There is no picture {number[0]}.", it=it)
    return True


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


def most(talk: Talk) -> bool:
    """Which of all pictures has the most or the fewest shapes."""
    rng, counts = talk.rng, [len(view.objects) for view in talk.views]
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
