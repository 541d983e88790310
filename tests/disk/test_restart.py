"""A session on the store of an earlier one: what survives, and what must not be used."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llmagic import cli
from llmagic.checkpoint import disk
from llmagic.events import Notice
from llmagic.prompt.images import Picture, picture
from llmagic.prompt.parts import ImagePart, TextPart
from llmagic.session import Session, Turn
from llmagic.settings import Loading
from llmagic.store import Header, Kind, New, Store
from llmagic.store.folder import Folder
from tests.oracle import assert_exact, sequence_of
from tests.store.holding import held
from tests.store.mounting import Mount
from tests.toys import Toy

N_CELLS = 6


def open_session(toy: Toy, folder: Path, **settings: object) -> Session:
    return Session(toy.model, projector=toy.projector or False, store=folder, **settings)


def picture_number(index: int) -> Image.Image:
    pixels = np.random.default_rng(index).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def ask_cell(
    session: Session, toy: Toy, index: int, after: Turn | None, **settings: object
) -> Turn:
    images = [picture_number(index)] if toy.projector is not None else []
    text = f"Question {index}: " + "what is to be seen there? " * 12
    settings = {"temperature": 0.7, "max_tokens": 8, **settings}
    return session.ask(text, images=images, after=after, **settings)


@pytest.fixture(scope="module")
def written(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Turn]]:
    """A store folder with a notebook of six cells in it, and its turns."""
    folder, turns = tmp_path_factory.mktemp("written"), list[Turn]()
    with open_session(toy, folder) as session:
        for index in range(N_CELLS):
            turns.append(ask_cell(session, toy, index, turns[-1] if turns else None))
        assert session.store.flush(120)
    return folder, turns


@pytest.fixture
def notebook(written: tuple[Path, list[Turn]], tmp_path: Path) -> tuple[Path, list[Turn]]:
    """A copy of it for each test."""
    folder, turns = written
    return shutil.copytree(folder, tmp_path / "store"), turns


def generation_prompt(session: Session, turn: Turn) -> int:
    """Tokens after the last boundary of what the model was asked."""
    spans = sequence_of(session, turn, with_reply=False).spans
    return spans[-1].n_tokens


def test_a_state_that_is_on_disk_only_comes_from_there(toy: Toy, notebook: tuple[Path, list[Turn]]):
    """The rows of a whole chain are in memory then, and the state of its end alone."""
    folder, turns = notebook
    with open_session(toy, folder) as session:
        above: Turn | None = None
        for turn in turns:
            above = session.recall(turn.id, after=above)
        assert above is not None
        ask_cell(session, toy, N_CELLS, above)
        middle = above.parent.parent
        has_states = session.engine.checkpoints.disk.has_state(
            sequence_of(session, middle).steps[-1].key
        )
        expected = "disk" if has_states else session.kept(middle)["tier"]
        assert session.kept(middle)["tier"] == expected
        turn = ask_cell(session, toy, N_CELLS + 1, middle)
        assert turn.usage["restored"]["tier"] == expected
        assert_exact(session, turn)


def test_turns_come_back_by_id(toy: Toy, notebook: tuple[Path, list[Turn]]):
    folder, turns = notebook
    with open_session(toy, folder) as session:
        above: Turn | None = None
        for turn in turns[:-1]:
            above = session.recall(turn.id, after=above)
            assert above is not None
            assert (above.parts, above.reply, above.text, above.sampling, above.stop) == (
                turn.parts,
                turn.reply,
                turn.text,
                turn.sampling,
                turn.stop,
            )
        turn = ask_cell(session, toy, N_CELLS - 1, above)
        assert turn.id == turns[-1].id
        assert turn.usage["restored"]["tier"] == "disk"
        assert turn.usage["encoded"]["images"] == 0


def test_replay_from_the_top_decodes_nothing(toy: Toy, notebook: tuple[Path, list[Turn]]):
    folder, turns = notebook
    with open_session(toy, folder) as session:
        above: Turn | None = None
        for index, wanted in enumerate(turns):
            above = ask_cell(session, toy, index, above, replay=True)
            usage = above.usage
            assert (above.text, above.tokens, above.id) == (wanted.text, wanted.tokens, wanted.id)
            assert usage["generated"]["stop"] == "replayed"
            assert above.stop == wanted.stop
            assert usage["evaluated"]["tokens"] == usage["encoded"]["images"] == 0
            assert usage["restored"]["tokens"] == usage["prompt"]["tokens"]
        # The context is behind now; what comes next is right all the same.
        turn = session.ask("And then?", after=above, temperature=0, max_tokens=4)
        assert turn.usage["restored"]["tier"] == "disk"
        assert_exact(session, turn)


def test_other_sampling_is_not_replayed(toy: Toy, notebook: tuple[Path, list[Turn]]):
    folder, turns = notebook
    with open_session(toy, folder) as session:
        turn = ask_cell(session, toy, 0, None, replay=True, seed=5)
        assert turn.usage["generated"]["stop"] != "replayed"
        assert turn.id != turns[0].id


def test_every_cell_resumes_where_it_must(toy: Toy, notebook: tuple[Path, list[Turn]]):
    """In any order, also where only the rows of a checkpoint came with a later one."""
    folder, turns = notebook
    with open_session(toy, folder) as session:
        for index in (5, 2, 4, 0, 3, 1):
            turn = ask_cell(session, toy, index, turns[index - 1] if index else None)
            usage, before = turn.usage, turns[index]
            assert usage["evaluated"]["tokens"] == generation_prompt(session, turn), index
            assert usage["encoded"]["images"] == usage["evaluated"]["images"] == 0
            assert usage["exact"] is True
            assert usage["restored"]["tier"] == "disk" or index != 5
            assert (turn.text, turn.tokens, turn.id) == (before.text, before.tokens, before.id)
            assert_exact(session, turn)


def test_edit_before_an_image_uses_its_stored_embedding(toy_named, tmp_path: Path):
    toy = toy_named("qwen35")
    image = ImagePart(picture(picture_number(0)))
    with open_session(toy, tmp_path) as session:
        session.ask([TextPart("Here: "), image, TextPart("What is it?")], max_tokens=2)
    with open_session(toy, tmp_path) as session:
        turn = session.ask([TextPart("There: "), image, TextPart("What is it?")], max_tokens=2)
        assert turn.usage["evaluated"]["images"] == 1
        assert turn.usage["encoded"]["images"] == 0
        assert_exact(session, turn)


def test_recall_asks_for_the_source(toy_named, tmp_path: Path):
    toy = toy_named("llama")
    with open_session(toy, tmp_path) as session:
        turn = session.ask("Hello", max_tokens=3)
        session.name_source(turn, "%%llm\nHello")
    with open_session(toy, tmp_path) as session:
        assert session.recall(turn.id, after=None, source="%%llm\nHello") is not None
        assert session.recall(turn.id, after=None, source="%%llm\nHello!") is None
        assert session.recall("00" * 16, after=None) is None


def test_a_turn_with_tools_of_a_later_version_is_none(toy_named, tmp_path: Path):
    with open_session(toy_named("llama"), tmp_path) as session:
        turn = session.ask("Hello", max_tokens=3)
    with open_session(toy_named("llama"), tmp_path) as session:
        document = session.archive.read(Kind.TURN, session.archive.key(turn.id))
        assert document is not None
        for identity, tools in (("aa" * 16, []), ("bb" * 16, [{"later": 1}])):
            document["tools"] = tools
            session.archive.write(Kind.TURN, session.archive.key(identity), document)
    with open_session(toy_named("llama"), tmp_path) as session:
        assert session.recall("aa" * 16, after=None) is not None
        assert session.recall("bb" * 16, after=None) is None


@pytest.mark.parametrize("kind", list(Kind))
def test_damage_costs_work_and_not_truth(toy: Toy, notebook: tuple[Path, list[Turn]], kind: Kind):
    """One file after another of a kind is damaged; every restore is exact or a miss."""
    folder, turns = notebook
    files = [path for path in folder.glob(f"*/{kind.value}/*") if path.is_file()]
    generator = np.random.default_rng(1)
    for path in files[::3]:
        data = bytearray(path.read_bytes())
        data[int(generator.integers(len(data)))] ^= 1 << int(generator.integers(8))
        path.write_bytes(data)
    notices: list[str] = []

    def hear(event: object) -> None:
        if isinstance(event, Notice):
            notices.append(event.text)

    with open_session(toy, folder) as session:
        for index in (5, 3, 1):
            above: Turn | None = None
            for turn in turns[:index]:
                above = session.recall(turn.id, after=above) or replace(turn, parent=above)
            replay = kind in (Kind.TURN, Kind.ASKED, Kind.IMAGE)
            turn = ask_cell(session, toy, index, above, replay=replay, on_event=hear)
            usage = turn.usage
            assert (
                usage["restored"]["tokens"] + usage["evaluated"]["tokens"]
                == usage["prompt"]["tokens"]
            )
            if usage["exact"]:
                assert turn.id == turns[index].id
                if usage["generated"]["stop"] != "replayed":
                    assert_exact(session, turn)
        # Warnings of the last turn come with the next one.
        session.ask("Done?", max_tokens=1, on_event=hear)
    if kind is Kind.CHECKPOINT:
        assert any("damaged" in text for text in notices)


def test_the_store_goes_away_under_a_session(toy: Toy, notebook: tuple[Path, list[Turn]]):
    folder, turns = notebook
    with open_session(toy, folder) as session:
        turn = ask_cell(session, toy, 5, turns[4])
        while folder.exists():  # the writer may be making a file in it at the same time
            shutil.rmtree(folder, ignore_errors=True)
        for index in (2, 5):
            turn = ask_cell(session, toy, index, turns[index - 1])
            assert turn.usage["exact"] is False or turn.id == turns[index].id
        turn = session.ask("Still there?", max_tokens=2)
        assert turn.text is not None


def test_a_store_that_cannot_be_is_no_store(toy_named, tmp_path: Path):
    toy = toy_named("llama")
    (tmp_path / "file").write_text("not a folder")
    notices: list[str] = []

    def hear(event: object) -> None:
        if isinstance(event, Notice):
            notices.append(event.text)

    with open_session(toy, tmp_path / "file" / "store") as session:
        first = session.ask("Hello", max_tokens=3, on_event=hear)
        again = session.ask("And?", after=first, max_tokens=3, on_event=hear)
        assert again.usage["restored"]["tier"] == "live"
    assert len(notices) == 1
    assert "LLMAGIC_STORE" in notices[0]


def test_cells_run_on_a_full_disk_and_on_one_that_cannot_be_written_to(
    toy_named: Callable[[str], Toy], mount: Mount
) -> None:
    toy, turns, told = toy_named("qwen35"), list[Turn](), list[str]()
    folder = mount("size=1m") / "store"

    def hear(event: object) -> None:
        told.extend([event.text] if isinstance(event, Notice) else [])

    with open_session(toy, folder) as session:
        for index in range(N_CELLS):
            turns.append(ask_cell(session, toy, index, turns[-1] if turns else None, on_event=hear))
            assert_exact(session, turns[-1])
        assert session.store.flush(120)
        ask_cell(session, toy, 0, None, on_event=hear)
        assert not session.store.writes
    (warning,) = told
    assert "No space left" in warning
    mount("ro,size=1m")
    told.clear()
    with open_session(toy, folder) as session:
        for index in range(N_CELLS):
            turn = ask_cell(session, toy, index, turns[index - 1] if index else None, on_event=hear)
            assert turn.id == turns[index].id or not turn.usage["exact"]
            assert turn.usage["restored"]["tier"] == "disk" or index
        assert session.store.flush(120)
        session.ask("And?", max_tokens=1, on_event=hear)
    (warning,) = told
    assert "Read-only" in warning


def test_what_waits_to_be_written_counts_as_memory(
    toy_named: Callable[[str], Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    real = os.fsync

    def slow(descriptor: int) -> None:
        assert free.wait(300)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    monkeypatch.setattr(disk, "LEAST_WAITING", 0)
    loading, turns = Loading(memory_budget=2_000_000), list[Turn]()
    with open_session(toy_named("qwen35"), tmp_path, loading=loading) as session:
        for index in range(16):
            turns.append(ask_cell(session, toy_named("qwen35"), index, None))
            waiting = sum(session.store.pending[kind] for kind in (Kind.CHECKPOINT, Kind.STATE))
            assert waiting > 0
            held = session.engine.checkpoints.tree.n_bytes + waiting
            assert held <= loading.memory_budget
        assert held > loading.memory_budget // 2
        free.set()
        again = ask_cell(session, toy_named("qwen35"), 0, None)
        assert again.id == turns[0].id
        assert_exact(session, again)


def test_states_larger_than_the_queue_are_kept(
    toy_named: Callable[[str], Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States of real models are: 320 to 416 MiB, and the queue has 256."""
    toy = toy_named("qwen35")
    monkeypatch.setattr(disk, "LEAST_WAITING", 0)
    loading = Loading(memory_budget=80_000)
    with open_session(toy, tmp_path, loading=loading) as session:
        turn = ask_cell(session, toy, 0, None)
        assert session.store.flush(120)
        sizes = {record.name: record.n_bytes for record in session.store.records(Kind.STATE)}
        assert min(sizes.values()) > disk.queue(loading.memory_budget)
        assert sizes.keys() == {each.name for each in session.store.records(Kind.CHECKPOINT)}
    with open_session(toy, tmp_path) as session:
        assert ask_cell(session, toy, 0, None).id == turn.id
        assert session.last.usage["restored"]["tier"] == "disk"


@pytest.mark.parametrize("why", ["read-only", "small"])
def test_what_cannot_be_kept_is_not_tried_with_every_ancestor(
    toy_named: Callable[[str], Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Each boundary would try all of its conversation again."""
    toy = toy_named("qwen35")
    put, n_tried, n_encoded = Store.put_together, [0], [0]
    png = Picture.png

    def counting(self: Store, entries: list[New]) -> bool:
        n_tried[0] += any(entry.kind is Kind.CHECKPOINT for entry in entries)
        return put(self, entries)

    def encoding(self: Picture, level: int = 6) -> bytes:
        n_encoded[0] += 1
        return png(self, level)

    monkeypatch.setattr(Store, "put_together", counting)
    monkeypatch.setattr(Picture, "png", encoding)
    monkeypatch.setattr(Store, "writes", why != "read-only")
    turns = list[Turn]()
    budget = 1000 if why == "small" else 1 << 30
    with open_session(toy, tmp_path, store_budget=budget) as session:
        for index in range(5):
            turns.append(ask_cell(session, toy, index, turns[-1] if turns else None))
        boundaries = {each.key for each in sequence_of(session, turns[-1]).steps if each.boundary}
    assert len(boundaries) >= 10
    assert n_tried[0] <= (0 if why == "read-only" else len(boundaries))
    assert (n_encoded[0] == 0) == (why == "read-only")


def test_what_is_forgotten_while_it_waits_does_not_come_back(
    toy_named: Callable[[str], Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    real, flush = os.fsync, Store.flush

    def slow(descriptor: int) -> None:
        assert free.wait(300)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    with open_session(toy_named("qwen35"), tmp_path) as session:
        turn = ask_cell(session, toy_named("qwen35"), 0, None)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "flush", lambda self, _: flush(self, 0.05))
            session.forget(turn)
        free.set()
        assert session.store.flush(120)
        assert session.store.writes
        left = {record.kind for record in session.store.records()}
    assert left.isdisjoint({Kind.TURN, Kind.CHECKPOINT, Kind.STATE})
    assert left, "its picture may be another turn's, too"


def test_what_a_waiting_turn_stands_on_is_not_forgotten(
    toy_named: Callable[[str], Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, free = toy_named("llama"), threading.Event()
    real, flush = os.fsync, Store.flush

    def slow(descriptor: int) -> None:
        assert free.wait(300)
        real(descriptor)

    with open_session(toy, tmp_path) as session:
        first = ask_cell(session, toy, 0, None)
        assert session.store.flush(120)
        monkeypatch.setattr(os, "fsync", slow)
        second = ask_cell(session, toy, 1, first)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "flush", lambda self, _: flush(self, 0.05))
            session.forget(first)
        free.set()
    with open_session(toy, tmp_path) as session:
        ask_cell(session, toy, 2, replace(second, parent=first))
        assert session.last.usage["restored"]["tier"] == "disk"
        # All of the second, which cannot be without the first.
        assert session.last.usage["restored"]["tokens"] > second.usage["prompt"]["tokens"]


def test_forgetting_reads_each_header_once(
    toy_named: Callable[[str], Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, turns, read = toy_named("llama"), list[Turn](), list[bytes]()
    header = Folder.header

    def counting(self: Folder, kind: Kind, name: bytes, **how: bool) -> Header:
        read.extend([name] if kind is Kind.CHECKPOINT else [])
        return header(self, kind, name, **how)

    with open_session(toy, tmp_path) as session:
        for index in range(5):
            turns.append(ask_cell(session, toy, index, turns[-1] if turns else None))
        assert session.store.flush(120)
        n_checkpoints = len([*session.store.records(Kind.CHECKPOINT)])
        monkeypatch.setattr(Folder, "header", counting)
        for turn in reversed(turns):
            assert session.forget(turn) > 0
    # And once again for the size of what is removed.
    assert len(read) <= 2 * n_checkpoints


def test_inexact_checkpoints_stay_out(toy_named, tmp_path: Path):
    """What another partition computed is never on disk, where it would pass for exact."""
    toy = toy_named("llama")
    with open_session(toy, tmp_path) as session:
        first = ask_cell(session, toy, 0, None)
        assert session.store.flush(120)
        # The reply's checkpoint is lost everywhere: it is evaluated in chunks from now on.
        shutil.rmtree(tmp_path / "v1" / Kind.CHECKPOINT.value)
        session.engine.checkpoints.tree.clear()
        session.engine.checkpoints.branches.drop_all()
        second = ask_cell(session, toy, 1, first)
        assert second.usage["exact"] is False
    with open_session(toy, tmp_path) as session:
        again = ask_cell(session, toy, 1, first)
        # It had to be evaluated again in the same way, from the first user message on.
        assert again.usage["exact"] is False
        assert again.usage["restored"]["tokens"] < first.usage["prompt"]["tokens"] + 8


def test_a_checkpoint_missing_at_the_beginning_is_met_once(
    toy_named, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """All below it stand on it: they are not tried one by one, each up to the gap."""
    toy, turns = toy_named("llama"), list[Turn]()
    with open_session(toy, tmp_path) as session:
        for index in range(8):
            turns.append(ask_cell(session, toy, index, turns[-1] if turns else None))
        first = next(step for step in sequence_of(session, turns[0]).steps if step.boundary)
        assert session.store.flush(120)
        assert session.store.remove(Kind.CHECKPOINT, first.key)
    looked: list[bytes] = []
    meta = Store.meta

    def counting(self: Store, kind: Kind, name: bytes) -> dict[str, str] | None:
        looked.append(name)
        return meta(self, kind, name)

    monkeypatch.setattr(Store, "meta", counting)
    with open_session(toy, tmp_path) as session:
        again = ask_cell(session, toy, 7, turns[6])
        assert again.usage["restored"]["tokens"] == 0
        assert len(looked) == len(set(looked))
        looked.clear()
        session.engine.checkpoints.branches.drop_all()
        more = ask_cell(session, toy, 8, again)
        assert more.usage["restored"]["tokens"] > again.usage["prompt"]["tokens"]


def test_a_busy_conversation_is_used_as_a_whole(
    toy_named, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also where its cells run so quickly that the turn above was always used a moment ago."""
    toy, turns, now = toy_named("llama"), list[Turn](), [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with open_session(toy, tmp_path) as session:
        for index in range(8):
            turns.append(ask_cell(session, toy, index, turns[-1] if turns else None))
            now[0] += 20
            if index == 3:
                assert session.store.flush(120)
                files = [*(tmp_path / "v1" / Kind.TURN.value).iterdir()]
                for file in files:
                    os.utime(file, (1e9, 1e9))
    assert len(files) == 4
    assert all(file.stat().st_mtime > 1e9 + 1 for file in files)


def test_files_say_which_notebook_they_belong_to(
    toy_named, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    toy = toy_named("llama")
    with open_session(toy, tmp_path) as session:
        session.name_notebook("work/plans.ipynb")
        session.ask("Hello", max_tokens=2)
        session.name_notebook("")
        session.ask("Elsewhere", after=None, max_tokens=2)
    command = ["cache", "ls", "--json", "--store", str(tmp_path)]
    assert cli.main([*command, "--notebook", "plans"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["labels"]["notebook"] for each in found["entries"]} == {"work/plans.ipynb"}
    assert cli.main(command) == 0
    assert json.loads(capsys.readouterr().out)["files"] > found["files"] > 0


@pytest.mark.parametrize("toy_name", ["qwen35", "llama"])
def test_what_is_replayed_is_used(
    toy_name: str, toy_named: Callable[[str], Toy], tmp_path: Path
) -> None:
    """Or the budget would take today's notebook before last month's."""
    toy, turns = toy_named(toy_name), list[Turn]()
    with open_session(toy, tmp_path / "store") as session:
        for index in range(3):
            turns.append(ask_cell(session, toy, index, turns[-1] if turns else None))
            session.name_source(turns[-1], f"cell {index}")
    files = list((tmp_path / "store").rglob("*.safetensors"))
    for file in files:
        os.utime(file, (1e9, 1e9))
    with open_session(toy, tmp_path / "store") as session:
        parent = None
        for index in range(3):
            parent = session.recall(turns[index].id, after=parent, source=f"cell {index}")
        assert parent is not None
        again = ask_cell(session, toy, 2, parent.parent, replay=True)
        assert again.usage["generated"]["stop"] == "replayed"
    # An embedding is made again from its image; the questions above were not asked.
    unused = {Kind.EMBEDDING, Kind.ASKED}
    old = [file for file in files if file.stat().st_mtime < 1e9 + 1]
    assert {Kind(file.parent.name) for file in old} <= unused


def test_two_kernels_remember_what_each_cell_gave_before(
    toy_named: Callable[[str], Toy], tmp_path: Path
) -> None:
    """Neither knows what the other wrote of the same turn meanwhile."""
    toy = toy_named("llama")
    with open_session(toy, tmp_path) as one, open_session(toy, tmp_path) as other:
        turn = ask_cell(one, toy, 0, None)
        assert one.store.flush(120)
        assert ask_cell(other, toy, 0, None).id == turn.id
        assert [*one.earlier(turn)] == [*other.earlier(turn)] == []
        earlier = []
        for index, session in enumerate((one, other), start=1):
            earlier.append(session.ask(f"Version {index}", max_tokens=2, source=f"cell {index}"))
            session.replaces(turn, earlier[-1].id)
            assert session.store.flush(120)
    with open_session(toy, tmp_path) as later:
        found = [(each.id, source) for each, source in later.earlier(turn)]
    assert found == [(each.id, f"cell {index}") for index, each in enumerate(earlier, start=1)]


def test_what_a_cell_gave_before_is_used_with_its_turn(
    toy_named: Callable[[str], Toy], tmp_path: Path
) -> None:
    toy = toy_named("llama")
    with open_session(toy, tmp_path) as session:
        turn = ask_cell(session, toy, 0, None)
        assert session.store.flush(120)
        named = {*(tmp_path / "v1" / Kind.ASKED.value).iterdir()}
        for number in range(3):
            session.replaces(turn, f"{number:032x}")
    files = {*(tmp_path / "v1" / Kind.ASKED.value).iterdir()} - named
    assert len(files) == 3
    for file in files:
        os.utime(file, (1e9, 1e9))
    with open_session(toy, tmp_path) as session:
        ask_cell(session, toy, 1, session.recall(turn.id, after=None))
    assert all(file.stat().st_mtime > 1e9 + 1 for file in files)


def test_a_damaged_file_is_told_in_the_cell_that_met_it(
    toy_named: Callable[[str], Toy], tmp_path: Path
) -> None:
    toy = toy_named("llama")
    with open_session(toy, tmp_path / "store") as session:
        ask_cell(session, toy, 0, None)
    for file in (tmp_path / "store" / "v1" / "asked").iterdir():
        file.write_bytes(b"")
    told: list[object] = []
    with open_session(toy, tmp_path / "store") as session:
        ask_cell(session, toy, 0, None, replay=True, on_event=told.append)
    assert any("is damaged" in event.text for event in told if isinstance(event, Notice))


def test_a_damaged_record_of_a_cell_is_no_record(
    toy_named: Callable[[str], Toy], tmp_path: Path
) -> None:
    toy = toy_named("llama")
    with open_session(toy, tmp_path / "store") as session:
        turn = ask_cell(session, toy, 0, None)
        session.name_source(turn, "the cell")
    for file in (tmp_path / "store" / "v1" / "asked").iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    with open_session(toy, tmp_path / "store") as session:
        assert session.recall(turn.id, after=None, source="the cell") is None
        assert session.recall(turn.id, after=None) == turn


@pytest.mark.parametrize("folder", ["~nobody-of-this-name/x", "a" * 300, "a\0b", "/proc/nowhere/x"])
def test_a_store_that_cannot_be_is_told_and_cells_run(
    folder: str, toy_named: Callable[[str], Toy]
) -> None:
    told: list[object] = []
    with open_session(toy_named("llama"), folder) as session:
        turn = session.ask("Anything?", max_tokens=2, on_event=told.append)
        assert len(turn.tokens) <= 2
        assert session.status()["store"]["files"] == 0
    assert any("nothing is kept" in event.text for event in told if isinstance(event, Notice))


def test_a_relative_store_stays_where_it_is(
    toy_named: Callable[[str], Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with open_session(toy_named("llama"), Path("here")) as session:
        monkeypatch.chdir(tmp_path / "elsewhere")
        session.ask("Anything?", max_tokens=2)
    assert list((tmp_path / "here").rglob("*.safetensors"))
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("waits", [False, True])
def test_a_turn_that_was_given_again_stands_on_what_it_stood_on_then(
    toy_named: Callable[[str], Toy], tmp_path: Path, waits: bool
):
    """The same reply under another turn of the same words: what is stored says which one."""
    toy, settings = toy_named("llama"), {"temperature": 0}
    with open_session(toy, tmp_path) as session:
        with held(session.store) if waits else nullcontext():
            session.ask("One?", after=None, max_tokens=3, **settings)
            below = session.ask("Two?", max_tokens=3, source="two", **settings)
            assert waits or session.store.flush(120)
            # Of the same content, and another turn: the settings count.
            other = session.ask("One?", after=None, max_tokens=3, seed=7, **settings)
            assert other.id != below.path()[0].id
            again = session.ask("Two?", after=other, max_tokens=3, replay=True, **settings)
        assert again.id == below.id
        assert again.usage["generated"]["stop"] == "replayed"
        assert session.store.flush(120)
    with open_session(toy, tmp_path) as session:
        recalled = session.recall(below.id, after=None, source="two")
        assert recalled.after == other.id
        assert session.archive.source(below.id) == "two"
