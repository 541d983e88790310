"""What people tell and what they tell it with; held-out dialogues use names of their own."""

from __future__ import annotations

import random

from llmagic.demo.picture import COLOURS

NAMES = (
    "Ana Ben Carla David Emma Frank Grace Henry Iris Jack Kate Leo Mia Nora Oscar Paul Rosa Sam "
    "Tina Victor Wendy Alex Bella Chris Dora Eric Fiona George Hannah Ivan Julia Kevin Laura Max "
    "Nina Oliver Peter Ruth Sarah Tom Anna Bob Alice Lena Marie Lucas Noah Olga Maria John Mary "
    "James Lisa Mark Eva Hugo Clara Adam Zoe Felix"
).split()
PETS = "Rex Bello Luna Bruno Fluffy Milo Coco Rocky Daisy Simba Nala Tiger Lucky Max Spot".split()
WORDS = (
    "apple river table cloud house garden window bread paper summer piano bridge candle forest "
    "mountain lemon rocket monkey winter castle basket silver ocean pepper camera button tiger "
    "banana ladder pencil island violin tunnel carpet dragon honey jacket kitchen letter magnet "
    "needle onion pillow rabbit saddle teapot umbrella valley wagon zebra moon tree key boat lamp"
).split()
CITIES = (
    "Paris London Berlin Rome Madrid Vienna Lisbon Oslo Dublin Prague Athens Zurich Boston Tokyo "
    "Cairo Lima Hamburg Milan Geneva Warsaw"
).split()
FOODS = "pizza rice soup cake pasta cheese salad bread apples noodles chocolate fish".split()
HELD_OUT = {
    "name": "Marco Lydia Simon Petra Oskar Selma Timo Vera Walter Yara Robin Karl".split(),
    "pet": "Pluto Balu Minka Felina Socks Ginger".split(),
    "word": "planet mirror cactus hammer parrot orchid wallet anchor puzzle domino".split(),
    "city": "Porto Turin Leeds Munich Krakow Seville".split(),
    "food": "curry beans waffles tofu plums".split(),
}
_LISTS = {"name": NAMES, "pet": PETS, "word": WORDS, "city": CITIES, "food": FOODS}

_ONSETS = "b d f g k l m n p r s t v z br tr st ch sh".split()
_VOWELS = "a e i o u ai ea o a".split()


def invented(rng: random.Random) -> str:
    """A word nobody knows, so that copying is learnt, not a list."""
    word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.choice((2, 2, 3))))
    return word + rng.choice(("", "", "n", "l", "s", "r"))


_ALL_ONSETS = (
    *"b c d f g h j k l m n p qu r s t v w x y z".split(),
    *"bl br ch cl cr dr fl fr gl gr ph pl pr sc sh sk sl sm sn sp st str sw th tr tw wh".split(),
)
_ALL_VOWELS = "a a e e i i o o u y ai au ea ee ei ia ie io oa oo ou ue".split()
_CODAS = (
    *("" for _ in range(14)),
    *"b ck ct d f g k l ld ll lt m mp n nd ng nk nt p r rd rk rt s sh ss st t tch th x z".split(),
)
_HELD_OUT = {word.lower() for words in HELD_OUT.values() for word in words}


def strange(rng: random.Random) -> str:
    """A word of any letters, so that every token is copied."""
    while True:
        word = "".join(
            (rng.choice(_ALL_ONSETS) if i or rng.random() < 0.8 else "")
            + rng.choice(_ALL_VOWELS)
            + rng.choice(_CODAS)
            for i in range(rng.choice((1, 2, 2, 2, 3)))
        )
        if word not in _HELD_OUT and 3 <= len(word) <= 10:
            return word


_MONTHS = (
    "January February March April May June July August September October November December"
).split()


def _time(rng: random.Random) -> str:
    """A time of day, as people write it."""
    hour, minutes = rng.randint(1, 12), rng.choice((0, 5, 10, 15, 20, 30, 40, 45, 50))
    return rng.choice((
        f"{hour} {rng.choice(('am', 'pm'))}", f"{hour} {rng.choice(('am', 'pm'))}",
        f"{hour}:{minutes:02} {rng.choice(('am', 'pm'))}", f"{hour} o'clock",
        f"{rng.randint(0, 23)}:{minutes:02}", rng.choice(("noon", "midnight")),
    ))  # fmt: skip


def value(rng: random.Random, kind: str, held_out: bool, strangers: float = 0.0) -> str:
    """Something to remember: a name, a number.

    Kinds are "name", "pet", "word", "city", "food", "colour", "number", "age", "time", "month".

    `strangers` is the fraction of words that are `strange`.
    """
    if kind == "number":
        return str(rng.choice((rng.randint(0, 9), rng.randint(10, 99), rng.randint(100, 9999))))
    if kind == "age":
        return str(rng.randint(5, 95))
    if kind == "colour":
        return rng.choice(COLOURS)
    if kind == "time":
        return _time(rng)
    if kind == "month":
        return rng.choice(_MONTHS)
    if strangers and rng.random() < strangers:
        text = strange(rng)
        text = text.capitalize() if kind in ("name", "pet", "city") else text
    elif held_out:
        text = rng.choice(HELD_OUT[kind])
    elif rng.random() < 0.45:
        text = invented(rng)
        text = text.capitalize() if kind in ("name", "pet", "city") else text
    else:
        text = rng.choice(_LISTS[kind])
    return text.lower() if rng.random() < 0.3 else text


def long_value(rng: random.Random, kind: str, held_out: bool) -> str:
    """Something longer to remember: two words, a word with a hyphen or digits, a long number."""
    if kind in ("number", "code"):
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(5, 8)))
    one, two = (value(rng, kind, held_out, 0.6) for _ in range(2))
    digits = str(rng.randint(1, 99))
    return rng.choice((f"{one} {two}", f"{one} {two}", f"{one}-{two}", one + digits))
