"""What strangers ask: `python -m training.strangers [MODEL]`.

Pictures drawn by other code than the training's, in other sizes, places and grounds, and words
that its dialogues do not have: what the held-out dialogues, which are made as the training's are,
cannot show. Each case asks some dozens of questions greedily and counts the replies that say the
right thing, in whatever words. README's list of what the model misreads comes from here.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from llmagic.demo.picture import COLOURS, SHAPES, picture
from llmagic.session import Session, Turn

Kind = tuple[str, str]
"""Colour and shape."""

Question = tuple[str, Sequence[Image.Image], Callable[[str], bool] | None]
"""Words, pictures before them, and whether a reply says the right thing; None: it is not asked."""

Talk = Sequence[Question]

N = 24
"""Talks of a case, mostly."""

_PAINT = {
    "red": "red", "orange": "darkorange", "yellow": "gold", "green": "green", "blue": "blue",
    "purple": "purple", "pink": "hotpink", "black": "black",
}  # fmt: skip
_CANVASES = ((300, 300), (400, 300), (640, 480))
_FINE = 3


def painted(
    kinds: Sequence[Kind],
    places: Sequence[tuple[float, float]],
    size: float,
    canvas: tuple[int, int] = (300, 300),
    ground: str | tuple[int, int, int] = "white",
) -> Image.Image:
    """Shapes at places (fractions of the canvas), `size` of its shorter side across."""
    width, height = canvas[0] * _FINE, canvas[1] * _FINE
    image = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(image)
    r = size * min(width, height) / 2
    for (colour, shape), (x, y) in zip(kinds, places, strict=True):
        _paint(draw, shape, x * width, y * height, r, _PAINT[colour])
    return image.resize(canvas, Image.Resampling.LANCZOS)


def _paint(draw: ImageDraw.ImageDraw, shape: str, x: float, y: float, r: float, ink: str) -> None:
    def corners(*points: tuple[float, float]) -> None:
        draw.polygon([(x + a * r, y + b * r) for a, b in points], fill=ink)

    if shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)
    elif shape == "square":
        draw.rectangle((x - 0.9 * r, y - 0.9 * r, x + 0.9 * r, y + 0.9 * r), fill=ink)
    elif shape == "triangle":
        corners((0, -1), (1, 0.75), (-1, 0.75))
    elif shape == "cross":
        draw.rectangle((x - r / 3, y - r, x + r / 3, y + r), fill=ink)
        draw.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=ink)
    elif shape == "star":
        corners((0, -1), (0.24, -0.33), (0.95, -0.31), (0.38, 0.12), (0.59, 0.81), (0, 0.4),
                (-0.59, 0.81), (-0.38, 0.12), (-0.95, -0.31), (-0.24, -0.33))  # fmt: skip
    else:
        draw.ellipse((x - r, y - 0.9 * r, x + 0.04 * r, y + 0.15 * r), fill=ink)
        draw.ellipse((x - 0.04 * r, y - 0.9 * r, x + r, y + 0.15 * r), fill=ink)
        corners((-0.94, -0.1), (0, -0.5), (0.94, -0.1), (0, 1))


# What is right -----------------------------------------------------------------------------


def _named(text: str) -> list[str]:
    return sorted(re.findall(rf"(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})", text))


def names(kinds: Sequence[Kind]) -> Callable[[str], bool]:
    """Whether a reply names these shapes and no others, in any order."""
    return lambda reply: _named(reply) == sorted(" ".join(kind) for kind in kinds)


def has(*words: str) -> Callable[[str], bool]:
    """Whether a reply has all of these words."""
    return lambda reply: all(re.search(rf"\b{word}\b", reply, re.IGNORECASE) for word in words)


def yes(so: bool) -> Callable[[str], bool]:
    """Whether a reply says yes, or no."""
    return lambda reply: reply.lower().startswith("yes" if so else "no")


# The cases ---------------------------------------------------------------------------------


def _kinds(rng: Random, n: int) -> list[Kind]:
    """Kinds of different colours and shapes."""
    return list(zip(rng.sample(COLOURS, n), rng.sample(SHAPES, n), strict=True))


def _row(kinds: Sequence[Kind], rng: Random, *, column: bool = False) -> Image.Image:
    texts = [" ".join(kind) for kind in kinds]
    return picture(*texts, column=column, seed=rng.randrange(1 << 30))


def _scattered(rng: Random, n: int, apart: float) -> list[tuple[float, float]]:
    while True:
        places = [(rng.uniform(0.17, 0.83), rng.uniform(0.17, 0.83)) for _ in range(n)]
        if all(
            max(abs(a[0] - b[0]), abs(a[1] - b[1])) > apart
            for i, a in enumerate(places)
            for b in places[:i]
        ):
            return places


def anywhere(rng: Random, n: int) -> Iterator[Talk]:
    """Shapes at random places, a quarter of the shorter side across."""
    for canvas in _CANVASES:
        for _ in range(N):
            kinds = _kinds(rng, n)
            image = painted(kinds, _scattered(rng, n, 0.3), 0.25, canvas)
            yield [("What do you see?", [image], names(kinds))]


def of_size(rng: Random, size: float) -> Iterator[Talk]:
    """A single shape, a fraction of the shorter side across."""
    for _ in range(N):
        kinds = _kinds(rng, 1)
        yield [("What do you see?", [painted(kinds, [(0.5, 0.5)], size)], names(kinds))]


def on_ground(rng: Random, ground: str | tuple[int, int, int]) -> Iterator[Talk]:
    """Two shapes on another ground."""
    for _ in range(N):
        kinds = _kinds(rng, 2)
        while any(_PAINT[colour] == ground for colour, _ in kinds):
            kinds = _kinds(rng, 2)
        image = painted(kinds, [(0.28, 0.5), (0.72, 0.5)], 0.33, ground=ground)
        yield [("What do you see?", [image], names(kinds))]


def markers(rng: Random, area: int, margin: float) -> Iterator[Talk]:
    """Three of matplotlib's markers in its usual figure, so far from the sides as `margin` says."""
    from matplotlib.figure import Figure

    signs = {"circle": "o", "square": "s", "triangle": "^", "star": "*", "cross": "P"}
    for _ in range(N):
        kinds = list(zip(rng.sample(COLOURS, 3), rng.sample(sorted(signs), 3), strict=True))
        figure = Figure()
        axes = figure.add_subplot()
        for i, (colour, shape) in enumerate(kinds):
            axes.scatter(i, rng.uniform(0.3, 0.7), s=area, marker=signs[shape], c=_PAINT[colour])
        axes.set(xlim=(-margin, 2 + margin), ylim=(0, 1))
        file = io.BytesIO()
        figure.savefig(file)
        image = Image.open(file).convert("RGB")
        yield [("What do you see?", [image], names(kinds))]


def two_at_once(rng: Random) -> Iterator[Talk]:
    """Two pictures in one turn."""
    for _ in range(N):
        one, two = _kinds(rng, 1), _kinds(rng, 2)
        images = [_row(one, rng), _row(two, rng)]
        yield [("What is in these two pictures?", images, names(one + two))]


def beside(rng: Random, word: str, *, coloured: bool) -> Iterator[Talk]:
    """What stands beside one of two shapes, called with or without its colour."""
    column = word in ("above", "below")
    for _ in range(N):
        kinds = _kinds(rng, 2)
        i = rng.randrange(2) if word == "next to" else int(word in ("right of", "below"))
        # Asked about the one that has the other on that side.
        asked = kinds[i] if word == "next to" else kinds[1 - i]
        other = kinds[1 - i] if word == "next to" else kinds[i]
        one = " ".join(asked) if coloured else asked[1]
        image = _row(kinds, rng, column=column)
        yield [(f"What is {word} the {one}?", [image], names([other]))]


def is_beside(rng: Random, words: tuple[str, str], so: bool) -> Iterator[Talk]:
    """Whether one of three shapes stands before or behind another; called by shapes alone."""
    for _ in range(2 * N):
        kinds = _kinds(rng, 3)
        i, j = sorted(rng.sample(range(3), 2))
        first = rng.random() < 0.5
        word = words[0] if first else words[1]
        one, two = (i, j) if first == so else (j, i)
        image = _row(kinds, rng, column=words[0] == "above")
        question = f"Is the {kinds[one][1]} {word} the {kinds[two][1]}?"
        yield [(question, [image], yes(so))]


def in_a_square(rng: Random, word: str) -> Iterator[Talk]:
    """What is beside each of four shapes in a square that has something there."""
    step = {"left of": -1, "right of": 1, "above": -2, "below": 2}[word]
    for _ in range(N):
        kinds = _kinds(rng, 4)
        image = _row(kinds, rng)
        starts = {"left of": (1, 3), "right of": (0, 2), "above": (2, 3), "below": (0, 1)}[word]
        for i in starts:
            wanted = names([kinds[i + step]])
            yield [(f"What is {word} the {' '.join(kinds[i])}?", [image], wanted)]


def of_a_colour(rng: Random, n: int) -> Iterator[Talk]:
    """How many of some shapes have a colour."""
    numbers = ("none|no|zero|nothing", "one", "two", "three", "four")
    for _ in range(N):
        colour, *others = rng.sample(COLOURS, 4)
        n_alike = rng.randint(1, n)
        colours = [colour] * n_alike + [rng.choice(others) for _ in range(n - n_alike)]
        rng.shuffle(colours)
        kinds = list(zip(colours, rng.sample(SHAPES, n), strict=True))
        wanted = has(f"(?:{numbers[n_alike]}|{n_alike})")
        yield [(f"How many shapes are {colour}?", [_row(kinds, rng)], wanted)]


def written(rng: Random, words: str) -> Iterator[Talk]:
    """What was in the first or second of two pictures, in words of some writing."""
    for _ in range(N):
        one, two = _kinds(rng, 1), _kinds(rng, 2)
        wanted = two if "secnd" in words else one
        yield [
            ("What do you see?", [_row(one, rng)], None),
            ("What do you see?", [_row(two, rng)], None),
            (words, [], names(wanted)),
        ]


def in_capitals(rng: Random, words: str) -> Iterator[Talk]:
    """Questions about one of two shapes in a row, in capitals."""
    for _ in range(N):
        kinds = _kinds(rng, 2)
        one, two = (" ".join(kind) for kind in kinds)
        wanted = {
            "WHERE IS THE {one}?": has("left"), "WHAT COLOUR IS THE {shape}?": has(kinds[0][0]),
            "HOW MANY SHAPES ARE THERE?": has("two"), "IS THERE A {one}?": yes(True),
            "WHAT IS LEFT OF THE {two}?": names(kinds[:1]),
        }[words]  # fmt: skip
        text = words.format(one=one.upper(), two=two.upper(), shape=kinds[0][1].upper())
        yield [(text, [_row(kinds, rng)], wanted)]


def any_picture(rng: Random, which: int | None) -> Iterator[Talk]:
    """Whether any of two pictures had a shape: the first, the second, or none."""
    for _ in range(N):
        shapes = rng.sample(SHAPES, 3)
        kinds = list(zip(rng.sample(COLOURS, 3), shapes, strict=True))
        asked = kinds[2 if which is None else which][1]
        yield [
            ("What do you see?", [_row(kinds[:1], rng)], None),
            ("What do you see?", [_row(kinds[1:2], rng)], None),
            (f"Did any picture have a {asked}?", [], yes(which is not None)),
        ]


def told(rng: Random, sentence: str, question: str, number: bool) -> Iterator[Talk]:
    """What it was told in a sentence of two facts."""
    for _ in range(N):
        name = rng.choice(("Waldo", "Luna", "Rex", "Bella", "Oscar", "Milo", "Kira", "Bruno"))
        age = str(rng.randint(18, 80))
        wanted = has(age if number else name)
        yield [(sentence.format(name=name, age=age), [], None), (question, [], wanted)]


def cases() -> dict[str, Callable[[Random], Iterator[Talk]]]:
    """Names of all cases, and what asks them."""
    out: dict[str, Callable[[Random], Iterator[Talk]]] = {}
    for n in range(1, 5):
        out[f"{n} anywhere"] = lambda rng, n=n: anywhere(rng, n)
    for size in (0.1, 0.15, 0.2, 0.4, 0.6, 0.7, 0.8, 0.95):
        out[f"one, {size} of the side"] = lambda rng, size=size: of_size(rng, size)
    grounds = {"white": "white", "grey 150": (150, 150, 150), "grey 100": (100, 100, 100),
               "black": "black", "dark blue": (20, 30, 90), "beige": "beige"}  # fmt: skip
    for name, ground in grounds.items():
        out[f"two on {name}"] = lambda rng, ground=ground: on_ground(rng, ground)
    for area in (2500, 1200, 700):
        out[f"matplotlib, s={area}"] = lambda rng, area=area: markers(rng, area, 0.3)
    out["matplotlib, in the middle"] = lambda rng: markers(rng, 2500, 0.7)
    out["two pictures at once"] = two_at_once
    for word in ("next to", "left of", "right of", "above", "below"):
        for coloured in (True, False):
            name = f"what is {word}" + ("" if coloured else ", shape alone")
            out[name] = lambda rng, w=word, c=coloured: beside(rng, w, coloured=c)
    for words in (("left of", "right of"), ("above", "below")):
        for so in (True, False):
            name = f"is it {words[0]} or {words[1]}, {'yes' if so else 'no'}"
            out[name] = lambda rng, w=words, so=so: is_beside(rng, w, so)
    for word in ("left of", "right of", "above", "below"):
        out[f"four, {word}"] = lambda rng, word=word: in_a_square(rng, word)
    for n in (2, 3, 4):
        out[f"how many of {n} are red"] = lambda rng, n=n: of_a_colour(rng, n)
    for words in (
        "WHAT WAS IN THE FIRST PICTURE?",
        "what was in the frist picture",
        "what was in the secnd picture",
        "What was in the previous picture?",
    ):
        out[words] = lambda rng, words=words: written(rng, words)
    for words in ("WHERE IS THE {one}?", "WHAT COLOUR IS THE {shape}?", "IS THERE A {one}?",
                  "HOW MANY SHAPES ARE THERE?", "WHAT IS LEFT OF THE {two}?"):  # fmt: skip
        out[words] = lambda rng, words=words: in_capitals(rng, words)
    for which in (0, 1, None):
        name = "none" if which is None else ("the first", "the second")[which]
        out[f"any picture, {name}"] = lambda rng, which=which: any_picture(rng, which)
    for sentence, number in (("My dog is named {name}, and I'm {age}.", True),
                             ("My dog is named {name}, and I'm {age}.", False),
                             ("My name is {name} and I am {age} years old.", True),
                             ("My name is {name} and I am {age} years old.", False)):  # fmt: skip
        whose = "dog's" if "dog" in sentence else "name"
        question = "How old am I?" if number else (
            "What is my dog's name?" if whose == "dog's" else "What is my name?")  # fmt: skip
        out[f"{sentence} {question}"] = lambda rng, s=sentence, q=question, number=number: told(
            rng, s, q, number
        )
    return out


def ask(session: Session, talk: Talk) -> list[bool]:
    """Ask the questions of a talk; whether each reply that is looked at says the right thing."""
    turn: Turn | None = None
    right = []
    for words, images, wanted in talk:
        turn = session.ask(words, images=images, after=turn, temperature=0, max_tokens=64)
        if wanted:
            right.append(wanted(turn.text))
    return right


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.strangers", description=__doc__)
    parser.add_argument("model", nargs="?", default="demo", help="its name or GGUF file (demo)")
    parser.add_argument("--projector", type=Path, help="its projector, if not beside it")
    parser.add_argument("--only", default="", help="cases that have this in their names")
    given = parser.parse_args()
    with Session(given.model, projector=given.projector) as session:
        for name, case in cases().items():
            if given.only in name:
                right = [one for talk in case(Random(name)) for one in ask(session, talk)]
                session.engine.checkpoints.tree.clear()
                print(f"{sum(right):4} of {len(right):3}  {name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
