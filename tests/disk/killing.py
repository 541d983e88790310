"""Kernels killed at random moments while their cells are stored; what the next ones make of it.

    python -m tests.disk.killing TOYS FOLDER KILLS SEED

Each kernel continues the notebook of the one before, which was killed, and then runs a notebook of
its own, all cells at once, until it is killed: some cells in, and a random time later. After each
kill the store is verified, every cell that had shown its reply is restored by the next kernel, and
a copy of the store is restored from bit by bit. Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty

from llmagic.session import Session, Turn
from llmagic.settings import Loading
from llmagic.store.folder import Folder
from llmagic.store.upkeep import verify
from tests.notebook.book import Book
from tests.notebook.conftest import write_picture
from tests.notebook.kernel import LIMIT, Kernel
from tests.oracle import assert_exact
from tests.toys import Toy, write

TOYS = ("qwen35", "llama", "gemma3", "mamba2", "qwen2vl")
CELLS = "abcd"
BUDGET = 12 << 20
"""Bytes of the store: some notebooks' worth, so that kills hit evictions, too."""


@dataclass
class Found:
    """What the campaign saw; `wrong` is to stay empty."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)


def book_of(toy: Toy, number: int) -> Book:
    """A notebook that nobody else has."""
    picture = f"![](p{number % 3}.png) " if toy.projector is not None else ""
    sources = {
        name: f"%%llm --max-tokens 6 -t 0.7\n{picture}{number}{name}: " + "what is seen there? " * 9
        for name in CELLS
    }
    return Book(sources, f"book{number}.ipynb")


class Campaign:
    """Kernels one after the other, on one store.

    Parameters
    ----------
    toys : sequence of Toy
        Taken in turn, some kernels each.
    folder : Path
        Where the kernels run, with a store in it.
    seed : int
    """

    def __init__(self, toys: Sequence[Toy], folder: Path, seed: int) -> None:
        self.folder, self.store = folder, folder / "store"
        self.random = random.Random(seed)
        self.found = Found()
        self.toys = toys
        self.before: tuple[Toy, Book] | None = None
        for number in range(3):
            write_picture(folder / f"p{number}.png", shade=80 * number)

    def run(self, kills: int) -> Found:
        for number in range(kills):
            toy = self.toys[number * len(self.toys) // kills]
            self.kill_one(toy, book_of(toy, number), replay=number % 2 == 1)
        self.found.counts["kills"] = kills
        return self.found

    def kill_one(self, toy: Toy, book: Book, *, replay: bool) -> None:
        kernel = Kernel(self.folder, replay=replay)
        try:
            kernel.run(f"%config LLMagic.store_budget = {BUDGET}\n%config LLMagic.n_threads = 1")
            if self.before is not None:
                kernel.load(self.before[0].model, self.before[0].projector)
                self.go_on(kernel, self.before[1])
            if self.before is None or self.before[0] is not toy:
                kernel.load(toy.model, toy.projector)
            self.run_until_killed(kernel, book)
        finally:
            kernel.stop()
        self.before = toy, book
        self.check_store()
        self.check_states(toy, book)

    def run_until_killed(self, kernel: Kernel, book: Book) -> None:
        """Run all cells; kill the kernel after some of them and a part of another one's time."""
        wait_for = self.random.randrange(len(CELLS) + 1)
        part = self.random.uniform(0, 1.2)
        sent = {
            kernel.send(c.source, c.id, metadata={"llmagic": book.message()}): c for c in book.cells
        }
        begin = time.monotonic()
        pace, done = 0.2, 0
        while done < wait_for:
            heard = self.hear(kernel, sent, LIMIT)
            assert heard is not None, "no cell ends"
            done += heard
            pace = (time.monotonic() - begin) / max(done, 1)
        time.sleep(part * pace)
        os.kill(kernel.process.pid, signal.SIGKILL)
        # What was said before the end still counts.
        while self.hear(kernel, sent, 0.05) is not None:
            pass
        self.found.counts["cells"] += sum(cell.turn is not None for cell in book.cells)

    def hear(self, kernel: Kernel, sent: dict, seconds: float) -> int | None:
        """Take one message: 1 for a cell's end, else 0; None where none comes."""
        try:
            message = kernel.client.get_iopub_msg(timeout=seconds)
        except Empty:
            return None
        cell = sent.get(message["parent_header"].get("msg_id"))
        if cell is None:
            return 0
        content = message["content"]
        usage = content.get("metadata", {}).get("llmagic", {})
        cell.turn = usage.get("turn", cell.turn)
        self.found.expect(message["msg_type"] not in ("error", "stream"), f"{cell.id}: {content}")
        return int(content.get("execution_state") == "idle")

    def go_on(self, kernel: Kernel, book: Book) -> None:
        """Run the last cell that had shown its reply, as after a restart, and the one below."""
        shown = [cell for cell in book.cells if cell.turn is not None]
        for cell in shown[-1:] + book.cells[len(shown) : len(shown) + 1]:
            before = cell.turn
            outcome = kernel.run(cell.source, cell.id, metadata={"llmagic": book.message()})
            self.found.expect(outcome.error is None, f"{cell.id}: {outcome.error}")
            self.found.expect("damaged" not in outcome.stderr, outcome.stderr)
            usage = outcome.usage
            cost = usage["restored"]["tokens"] + usage["evaluated"]["tokens"]
            self.found.expect(usage["prompt"]["tokens"] == cost, f"{usage}")
            same = usage["turn"] == before
            # Without a turn above it the prompt is another, and the cell says so.
            missing = "not part of the context" in outcome.stderr or not usage["exact"]
            self.found.expect(before is None or same or missing, f"{cell.id}: {usage}")
            stop = usage["generated"]["stop"]
            how = stop if stop == "replayed" else usage["restored"]["tier"]
            self.found.counts[f"kernel: {how}{'' if usage['exact'] else ', not exact'}"] += 1
            cell.turn = usage["turn"]

    def check_store(self) -> None:
        report = verify(Folder(self.store))
        self.found.expect(report.is_well, f"{report}")
        self.found.counts["unfinished files"] += report.temporaries
        self.found.counts["entries read by verify"] += report.files

    def check_states(self, toy: Toy, book: Book) -> None:
        """Restore every cell from a copy of the store; the state is that of a cold run, or none."""
        shown = [cell for cell in book.cells if cell.turn is not None]
        with tempfile.TemporaryDirectory() as copy:
            shutil.copytree(self.store, copy, dirs_exist_ok=True)
            projector, loading = toy.projector or False, Loading(n_threads=1)
            with Session(toy.model, projector=projector, store=copy, loading=loading) as session:
                above: Turn | None = None
                for cell in shown:
                    assert cell.turn is not None
                    stored = session.recall(cell.turn, after=above)
                    if stored is None:
                        self.found.counts["turn missing"] += 1
                        break
                    turn = session.ask(
                        stored.parts, after=above, system=stored.system, sampling=stored.sampling
                    )
                    usage, above = turn.usage, turn
                    self.found.expect(not usage["exact"] or turn.id == cell.turn, f"{usage}")
                    self.found.counts[f"state: {usage['restored']['tier']}"] += 1
                    if usage["exact"]:
                        assert_exact(session, turn)
                        self.found.counts["logits compared"] += 1


def main() -> None:
    toys, folder, kills, seed = sys.argv[1:]
    store = Path(folder) / "store"
    store.mkdir(parents=True)
    os.environ["LLMAGIC_STORE"] = str(store)
    os.environ["IPYTHONDIR"] = str(Path(folder) / "ipython")
    written = [write(name, Path(toys)) for name in TOYS]
    found = Campaign(written, Path(folder), int(seed)).run(int(kills))
    print(json.dumps({**found.counts, "wrong": found.wrong}))


if __name__ == "__main__":
    main()
