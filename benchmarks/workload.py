"""What people do in a notebook, step by step, and what each step costs beside the least it can.

A notebook of 6, 24 or 96 cells, an image in every second one. Its cells are run one after the
other; then come the steps of `STEPS`. For each: tokens evaluated and images encoded, with their
floors; the time to the first token (ms); bytes moved into the context, and bytes of checkpoints
stored. Counts are exact and do not depend on the machine; times do.

The floors are counted here, from tokens alone: what a step must evaluate is what stands behind the
last boundary (docs: DESIGN, "Sequences") that it shares with anything evaluated before, token by
token. Nothing of the lookup, of digests or of checkpoints is asked.

    python -m benchmarks.workload [--models demo qwen35 llama ...] [--cells 6] [--out FILE.json]

A model is `demo`, a toy of tests/toys, a shape of benchmarks/shapes.py, or a file with, after a
comma, its projector; images are 512 px but for toys and the demo model (192). JSON comes last.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmagic.demo import picture
from llmagic.events import Delta, Event
from llmagic.prompt.images import Picture
from llmagic.prompt.images import picture as canonical
from llmagic.prompt.parts import ImagePart, Part, TextPart
from llmagic.sequence import Boundary, Media, Sequence, Span, Text
from llmagic.session import Session, Turn
from llmagic.settings import Loading

SYSTEM = "Answer in one word."
Item = int | tuple[bytes, int]


@dataclass(frozen=True)
class Cell:
    """What stands in a cell: words, on models that see an image in every second one, words."""

    before: str
    image: Picture | None
    after: str

    def parts(self) -> tuple[Part, ...]:
        if self.image is None:
            return (TextPart(self.before + self.after),)
        return (TextPart(self.before), ImagePart(self.image), TextPart(self.after))


def notebook(n: int, *, sees: bool, side: int = 192) -> list[Cell]:
    """The cells; every image is another one, `side` pixels wide and high."""
    random = np.random.default_rng(0)
    shapes = [f"{c} {s}" for c in ("red", "green", "blue", "black") for s in ("star", "circle")]
    return [
        Cell(
            f"Cell {index}: ",
            canonical(picture(shapes[index // 2 % 8], seed=index, size=(side, side)))
            if sees and index % 2 == 0
            else None,
            f" what is the number {random.integers(1000)} or the colour of it?",
        )
        for index in range(n)
    ]


class Floor:
    """All that was evaluated so far, item by item, and where one could resume in it."""

    def __init__(self, *, cuts: bool) -> None:
        self._cuts = cuts  # also where an evaluation from nothing is cut, not at boundaries alone
        self._known: list[tuple[list[Item], set[int]]] = []
        self._images: set[bytes] = set()

    def of(self, wanted: Sequence) -> tuple[int, int]:
        """Tokens to evaluate and images to encode for a sequence."""
        items, places = _items(wanted.spans), self._places(wanted)
        total = sum(_size(item) for item in items)
        best = 0
        for known, known_places in self._known:
            common = 0
            for mine, theirs in zip(items, known, strict=False):
                if mine != theirs:
                    break
                common += _size(mine)
            shared = (p for p in places & known_places if p <= min(common, total - 1))
            best = max(best, *shared, 0)
        behind, at = [], 0
        for span in wanted.spans:
            if isinstance(span, Media) and at >= best:
                behind.append(span.digest)
            at += span.n_tokens
        return total - best, len(set(behind) - self._images)

    def add(self, whole: Sequence) -> None:
        """A sequence was evaluated, with its reply."""
        self._known.append((_items(whole.spans), self._places(whole)))
        self._images |= {span.digest for span in whole.spans if isinstance(span, Media)}

    def restart(self) -> None:
        """From now on what is on disk counts: there one resumes at boundaries alone."""
        self._cuts = False

    def _places(self, sequence: Sequence) -> set[int]:
        return {step.stop for step in sequence.steps if self._cuts or step.boundary is not None}


def _items(spans: tuple[Span, ...]) -> list[Item]:
    items: list[Item] = []
    for span in spans:
        items += span.tokens if isinstance(span, Text) else [(span.digest, span.n_tokens)]
    return items


def _size(item: Item) -> int:
    return 1 if isinstance(item, int) else item[1]


class Life:
    """A notebook on a model, and what its steps cost.

    Parameters
    ----------
    opens : callable
        Opens a session with a store in a folder.
    n : int
        Cells.
    side : int
        Of the images (px).
    """

    def __init__(
        self, opens: Callable[[], Session], n: int, *, side: int = 192, new_tokens: int = 8
    ) -> None:
        self._opens = opens
        self._settings = {"temperature": 0, "max_tokens": new_tokens}
        self.session = opens()
        cuts = self.session.engine.checkpoints.can_cut
        self.floor = Floor(cuts=cuts)
        self.side = side
        self.cells = self.as_written(n)
        self.turns: list[Turn] = []
        self.results: list[dict[str, Any]] = []
        self._seed = 0

    def as_written(self, n: int) -> list[Cell]:
        """The notebook before anything was edited."""
        return notebook(n, sees=self.session.engine.projector is not None, side=self.side)

    def run(self, index: int, cell: Cell | None = None, **settings: Any) -> Turn:
        """Run a cell at its place; those below stand on it from then on."""
        self.cells[index] = cell or self.cells[index]
        turn = self.ask(self.turns[index - 1] if index else None, self.cells[index], **settings)
        below = self.turns[index + 1 :]
        self.turns[index:] = [turn]
        for each in below:
            self.turns.append(replace(each, parent=self.turns[-1]))
        return turn

    def again(self, index: int = -1) -> None:
        """Run a cell again for another reply, as `--resample` does."""
        self._seed += 1
        index %= len(self.cells)
        self.run(index, replay=False, seed=self._seed)

    def ask(self, after: Turn | None, cell: Cell, *, replay: bool = True, **settings: Any) -> Turn:
        system = settings.pop("system", None if after is not None else SYSTEM)
        settings = self._settings | settings
        known = system if system is not None or after is None else after.system
        wanted = self.session.chat.sequence(known, after, cell.parts())
        floor, images = self.floor.of(wanted)
        begin, first = time.perf_counter(), 0.0

        def hear(event: Event) -> None:
            nonlocal first
            if isinstance(event, Delta) and not first:
                first = time.perf_counter() - begin

        turn = self.session.ask(
            cell.parts(), after=after, system=system, replay=replay, on_event=hear, **settings
        )
        usage = turn.usage
        replayed = usage["generated"]["stop"] == "replayed"
        reply = [Text(turn.tokens, reply=True, boundary=Boundary.REPLY)] if turn.tokens else []
        self.floor.add(wanted)
        self.floor.add(wanted.extended(reply))
        self.results.append(
            {
                "evaluated": usage["evaluated"]["tokens"],
                "floor": 0 if replayed else floor,
                "encoded": usage["encoded"]["images"],
                "images_floor": 0 if replayed else images,
                "first_ms": round(1000 * (first or time.perf_counter() - begin), 3),
                "tier": usage["restored"]["tier"],
                "moved": usage["restored"]["bytes"],
                "stored": usage["saved"]["bytes"],
                "exact": usage["exact"],
            }
        )
        return turn

    def restart(self) -> None:
        """Another kernel: nothing but the store and the notebook is left."""
        store = self.session.store
        assert store is None or store.flush(120)
        self.session.close()
        self.session = self._opens()
        self.floor.restart()


def _append(life: Life) -> None:
    for index in range(len(life.cells)):
        life.run(index)


def _edit_after(life: Life) -> None:
    index = _middle(life)
    life.run(index, replace(life.cells[index], after=life.cells[index].after + " Say it."))


def _edit_before(life: Life) -> None:
    index = _middle(life)
    life.run(index, replace(life.cells[index], before="Look: "))


def _undo(life: Life) -> None:
    index = _middle(life)
    life.run(index, life.as_written(len(life.cells))[index])
    life.again()


def _insert(life: Life) -> None:
    index = _middle(life) + 1
    turn = life.ask(life.turns[index - 1], Cell("", None, "And another question?"))
    life.cells.insert(index, Cell("", None, "And another question?"))
    life.turns.insert(index, turn)
    for at in range(index + 1, len(life.turns)):
        life.turns[at] = replace(life.turns[at], parent=life.turns[at - 1])
    # And it is deleted again.
    del life.turns[index], life.cells[index]
    for at in range(index, len(life.turns)):
        life.turns[at] = replace(life.turns[at], parent=life.turns[at - 1])


def _aside(life: Life) -> None:
    life.ask(life.turns[_middle(life)], Cell("", None, "What was that?"))
    life.again()


def _system(life: Life) -> None:
    turns = list(life.turns)
    parent: Turn | None = None
    for turn in turns[:-1]:  # the turns above count as they ran, under the other prompt
        parent = replace(turn, parent=parent, system="Answer like a pirate.")
    life.ask(parent, life.cells[-1], system="Answer like a pirate.")
    life.again()


def _restart_last(life: Life) -> None:
    life.restart()
    life.again()


def _restart_all(life: Life) -> None:
    life.restart()
    _append(life)


def _middle(life: Life) -> int:
    """A cell with an image, in the middle."""
    return len(life.cells) // 4 * 2


STEPS: dict[str, Callable[[Life], None]] = {
    "append": _append,
    "run again": Life.again,
    "edit the words after an image": _edit_after,
    "undo, come back": _undo,
    "edit before an image": _edit_before,
    "undo, come back again": _undo,
    "insert in the middle": _insert,
    "ask aside, come back": _aside,
    "another system prompt, come back": _system,
    "restart, run the last cell": _restart_last,
    "restart, run all": _restart_all,
}


def steps(life: Life) -> Iterator[dict[str, Any]]:
    """Run all steps; what each cost, all its cells together and the last one by itself."""
    for name, step in STEPS.items():
        life.results.clear()
        step(life)
        found: dict[str, Any] = {"step": name, "runs": len(life.results)}
        for key in ("evaluated", "floor", "encoded", "images_floor", "moved", "stored"):
            found[key] = sum(each[key] for each in life.results)
        found["exact"] = all(each["exact"] for each in life.results)
        found["last"] = life.results[-1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["peak_bytes"] = peak * (1 if sys.platform == "darwin" else 1024)
        store = life.session.store
        if store is not None and store.flush(120):
            found["disk_bytes"] = sum(each.n_bytes for each in store.usage().values())
        yield found


def measure(
    model: str | Path,
    projector: Path | bool | None,
    n: int,
    threads: int = 1,
    side: int = 192,
) -> list[dict[str, Any]]:
    """All steps of a notebook of `n` cells, with images of `side` pixels."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:

        def opens() -> Session:
            loading = Loading(n_threads=threads, n_ctx=1 << 15)
            return Session(model, projector=projector, loading=loading, store=folder)

        life = Life(opens, n, side=side)
        try:
            return list(steps(life))
        finally:
            life.session.close()


def files_of(name: str, cache: Path) -> tuple[str | Path, Path | bool | None]:
    """The model and projector that a name on the command line stands for."""
    from benchmarks import shapes
    from tests.toys import TOYS, write

    if name == "demo":
        return name, None
    if name in TOYS:
        toy = write(name, cache)
        return toy.model, toy.projector or False
    if name in shapes.SHAPES:
        shape, tower = shapes.write(name, cache)
        return shape, tower or False
    model, _, projector = name.partition(",")
    return Path(model), Path(projector) if projector else False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=["demo"])
    parser.add_argument("--cells", nargs="*", type=int, default=[6])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/llmagic/shapes")
    parser.add_argument("--out", type=Path, help="JSON goes there, too")
    given = parser.parse_args()
    from tests.toys import TOYS

    results = []
    for name in given.models:
        model, projector = files_of(name, given.cache)
        for n in given.cells:
            side = 192 if model == "demo" or name in TOYS else 512
            for found in measure(model, projector, n, given.threads, side):
                results.append({"model": name, "cells": n, **found})
                print(_row(results[-1]), file=sys.stderr, flush=True)
    machine = (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    )
    text = json.dumps({"machine": machine, "threads": given.threads, "workload": results})
    if given.out is not None:
        given.out.write_text(text)
    print(text)


def _row(found: dict[str, Any]) -> str:
    over = "" if found["evaluated"] == found["floor"] else "  NOT AT THE FLOOR"
    return (
        f"{found['model']:<12} {found['cells']:>3} cells  {found['step']:<34} "
        f"evaluated {found['evaluated']:>6,} of {found['floor']:>6,}  "
        f"encoded {found['encoded']:>3} of {found['images_floor']:>3}  "
        f"last cell {found['last']['first_ms']:>9.1f} ms {found['last']['tier']:<6} "
        f"moved {found['moved']:>12,} B{over}"
    )


if __name__ == "__main__":
    main()
