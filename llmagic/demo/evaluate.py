"""How well the demo model answers: `python -m llmagic.demo.evaluate`.

Thousands of turns of dialogues that were not trained on, each asked through a session, greedily,
on top of the model's own earlier replies; an answer counts when it is the right one to the letter.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from llmagic.demo.picture import Object, Scene, reshaped
from llmagic.demo.plot import plotted
from llmagic.errors import LLMagicError
from llmagic.prompt.images import picture
from llmagic.prompt.parts import ImagePart, Part, TextPart
from llmagic.session import Session, Turn
from llmagic.settings import Loading

DIALOGUES = Path(__file__).with_name("heldout.json.gz")
MOST_TOKENS = 64
"""Longest right answer, and some more: rambling is cut."""

INTERRUPTED = 130
"""Exit status after Ctrl-C."""

EVERY, ROWS, FREE, MANY = "all dialogues", "rows, squares", "shapes anywhere", "3-4 pictures"


@dataclass(frozen=True)
class Asked:
    """One turn of the evaluation.

    Attributes
    ----------
    task : str
    question : tuple of Part
    wanted : str
        The right answer.
    reply : str
    n_pictures : int
        Pictures in the whole dialogue.
    free : bool
        Whether the dialogue is about pictures whose shapes stand anywhere.
    """

    task: str
    question: tuple[Part, ...]
    wanted: str
    reply: str
    n_pictures: int
    free: bool

    @property
    def right(self) -> bool:
        """Whether the reply is the right answer to the letter."""
        return self.reply == self.wanted


def dialogues(path: Path = DIALOGUES) -> list[dict[str, Any]]:
    """The held-out dialogues: messages (role, parts), tasks, scenes; a number is a scene's."""
    found: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
    return found


def scene(record: dict[str, Any]) -> Scene:
    """A scene from its JSON."""
    objects = tuple(Object(**{**item, "rgb": tuple(item["rgb"])}) for item in record["objects"])
    background = tuple(record["background"])
    return Scene(record["width"], record["height"], background, objects)


def questions(
    dialogue: dict[str, Any], *, ratios: bool = False, plots: bool = False
) -> Iterator[tuple[str, tuple[Part, ...], str, str | None]]:
    """Each turn of a dialogue: its task, question, right answer, and the system prompt.

    With `ratios` every picture is of another size and ratio (but those of dialogues that have such
    pictures anyway, their shapes anywhere), with `plots` inside the axes of a plot.
    """
    ratios = ratios and not dialogue.get("free")
    scenes = [
        ImagePart(picture(_drawn(one, ratios=ratios, plots=plots))) for one in dialogue["scenes"]
    ]
    tasks = iter(dialogue["tasks"])
    system: str | None = None
    parts: tuple[Part, ...] = ()
    for role, content in dialogue["messages"]:
        if role == "system":
            system = content[0]
        elif role == "user":
            parts = tuple(
                TextPart(part) if isinstance(part, str) else scenes[part] for part in content
            )
        else:
            yield next(tasks), parts, content[0], system


def _drawn(record: dict[str, Any], *, ratios: bool, plots: bool) -> Image.Image:
    # The same picture is drawn in the same way each time, and each picture in another.
    drawn, rng = scene(record), Random(json.dumps(record))
    if ratios:
        drawn = reshaped(drawn, rng)
    return plotted(drawn, rng)[1] if plots else drawn.image()


def ask_all(
    session: Session, dialogue: dict[str, Any], *, ratios: bool = False, plots: bool = False
) -> Iterator[Asked]:
    """Ask the questions of a dialogue, in order; `ratios` and `plots` as for `questions`."""
    turn: Turn | None = None
    n_pictures, free = len(dialogue["scenes"]), dialogue.get("free", False)
    for task, parts, wanted, system in questions(dialogue, ratios=ratios, plots=plots):
        turn = session.ask(parts, after=turn, system=system, temperature=0, max_tokens=MOST_TOKENS)
        yield Asked(task, parts, wanted, turn.text, n_pictures, free)


def figures(turns: Iterable[Asked]) -> dict[str, dict[str, tuple[int, int]]]:
    """Turns and right answers per task: in all dialogues, and in some sorts of them.

    In those whose shapes stand in rows, columns and squares, or anywhere, and in those about three
    or four pictures. The task "all" counts all of them.
    """
    out: dict[str, dict[str, list[int]]] = {EVERY: {}, ROWS: {}, FREE: {}, MANY: {}}
    for one in turns:
        among = {EVERY: True, ROWS: not one.free, FREE: one.free, MANY: one.n_pictures >= 3}
        for group in [name for name, is_of in among.items() if is_of]:
            for task in (one.task, "all"):
                count = out[group].setdefault(task, [0, 0])
                count[0] += 1
                count[1] += one.right
    return {
        group: {task: (asked, right) for task, (asked, right) in sorted(tasks.items())}
        for group, tasks in out.items()
    }


def table(found: dict[str, dict[str, tuple[int, int]]]) -> str:
    """What `figures` counted, for people."""
    lines = [f"{'task':10}" + "".join(f"  {name:>15} {'right':>7}" for name in found)]
    for task in sorted(found[EVERY], key=lambda task: (task == "all", task)):
        counts = [group.get(task, (0, 0)) for group in found.values()]
        lines.append(f"{task:10}" + "".join(f"  {asked:15} {_share(asked, right)}"
                                            for asked, right in counts))  # fmt: skip
    return "\n".join(lines)


def _share(asked: int, right: int) -> str:
    return f"{100 * right / asked:6.1f}%" if asked else f"{'-':>7}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("python -m llmagic.demo.evaluate: interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m llmagic.demo.evaluate", description=__doc__)
    parser.add_argument("model", nargs="?", default="demo", help="its name or GGUF file (demo)")
    parser.add_argument("--projector", type=Path, help="its projector, if not beside it")
    parser.add_argument(
        "--turns",
        type=_positive,
        default=sys.maxsize,
        help="stop after the dialogue with this turn; those about shapes anywhere come last",
    )
    parser.add_argument("--plots", action="store_true", help="draw the pictures as plots")
    parser.add_argument("--ratios", action="store_true", help="draw them of other sizes and ratios")
    parser.add_argument("--threads", type=int, default=0, help="0: one for each physical core")
    parser.add_argument("--wrong", action="store_true", help="print the wrong answers")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    given = parser.parse_args(arguments)
    turns: list[Asked] = []
    try:
        loading = Loading(n_threads=given.threads)
        opened = Session(given.model, projector=given.projector, loading=loading)
    except LLMagicError as error:
        if isinstance(error, KeyboardInterrupt):  # llmagic's own is both
            raise
        parser.error(str(error))
    with opened as session:
        for dialogue in dialogues():
            if len(turns) >= given.turns:
                break
            turns += ask_all(session, dialogue, ratios=given.ratios, plots=given.plots)
            session.engine.checkpoints.tree.clear()
    if given.wrong:
        for one in turns:
            if not one.right:
                texts = [part.text if isinstance(part, TextPart) else "▢" for part in one.question]
                print(
                    f"{one.task}: {''.join(texts)!r}\n  wanted {one.wanted}\n  got    {one.reply}"
                )
    if given.json:
        print(json.dumps(figures(turns), indent=2))
    else:
        print(table(figures(turns)))
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, and got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
