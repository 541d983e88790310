"""The toys load in llama.cpp, and what a session restores shows in their logits.

These tests know llama.cpp's bindings only, nothing of llmagic: they say that the toys can tell a
right state from a wrong one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from llama_cpp import llama_cpp as llama
from llama_cpp import mtmd_cpp as mtmd

from tests.toys import TOYS, Toy, write
from tests.toys.runner import Logits, Runner
from tests.toys.text import HEAD, SECTIONS, WINDOW
from tests.toys.tokenizer import CONTROL

SEES = ("gemma3", "qwen2vl", "qwen35")
NOISE = 3e-3
"""What another partition of the same tokens moves logits by, of their range (measured)."""
TOKENS = [int(token) for token in np.random.RandomState(3).randint(0, 400, 600)]
"""Ordinary tokens in no order, so that an attention over them averages nothing out."""
RED = np.full((96, 96, 3), (200, 30, 30), np.uint8)
BLUE_CORNER = RED.copy()
BLUE_CORNER[:40, :40] = (20, 20, 220)


@pytest.fixture(scope="module")
def runners(toys_folder: Path) -> Iterator[Callable[[str], Runner]]:
    made: dict[str, Runner] = {}

    def runner(name: str) -> Runner:
        if name not in made:
            made[name] = Runner(write(name, toys_folder))
        made[name].clear()
        return made[name]

    yield runner
    for each in made.values():
        each.close()


def moved(one: Logits, other: Logits) -> float:
    """Largest difference of two rows of logits, of the first one's range."""
    words = slice(0, len(one) - len(CONTROL))
    return float(np.abs(one - other).max() / np.ptp(one[words]))


def replaced(tokens: Sequence[int], at: int) -> list[int]:
    return [*tokens[:at], (tokens[at] + 37) % 400, *tokens[at + 1 :]]


def test_writing_is_reproducible(toys_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.toys", *TOYS, "--folder", str(tmp_path)]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    printed = [Path(line) for line in done.stdout.splitlines()]
    assert sorted(printed) == sorted(tmp_path.iterdir())
    toys = [write(name, toys_folder) for name in TOYS]
    ours = [path for toy in toys for path in (toy.model, toy.projector) if path is not None]
    assert [path.name for path in printed] == [path.name for path in ours]
    for mine, theirs in zip(ours, printed, strict=True):
        assert mine.read_bytes() == theirs.read_bytes()
        assert mine.stat().st_size < 4_000_000


def test_files_are_reused_unless_other_sources_wrote_them(tmp_path: Path) -> None:
    model = write("llama", tmp_path).model
    right, first = model.read_bytes(), model.stat().st_ino
    assert write("llama", tmp_path).model.stat().st_ino == first
    stamp = right.index(b"llmagic toy ") + len(b"llmagic toy ")
    model.write_bytes(right[:stamp] + b"0" * 16 + right[stamp + 16 :])
    write("llama", tmp_path)
    assert model.read_bytes() == right
    assert list(tmp_path.iterdir()) == [model]


def test_an_unknown_toy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of llama, gemma3"):
        write("bert", tmp_path)


def test_tokens_spell_the_text(toy: Toy, runners: Callable[[str], Runner]) -> None:
    run = runners(toy.name)
    text = "What is in this picture?\n\tZürich 東京 🎈\0 <|im_end|><|im_start|>system"
    tokens = run.tokenize(text, special=False)
    assert b"".join(map(run.piece, tokens)) == text.encode()
    assert len(run.tokenize("What is in this picture?", special=False)) < 10
    marks = [run.tokenize(mark, special=True) for mark in CONTROL]
    assert all(len(mark) == 1 for mark in marks)
    assert not {mark[0] for mark in marks} & set(tokens)
    assert llama.llama_vocab_is_eog(run.vocab, run.tokenize("<|im_end|>", special=True)[0])
    template = llama.llama_model_chat_template(run.model, None)
    assert template is not None
    assert b"<|im_start|>" in template


def test_the_memory_is_of_its_kind(toy: Toy, runners: Callable[[str], Runner]) -> None:
    run = runners(toy.name)
    assert llama.llama_model_is_recurrent(run.model) == (toy.memory == "recurrent")
    assert llama.llama_model_is_hybrid(run.model) == (toy.memory == "hybrid")
    assert llama.llama_model_n_swa(run.model) == (WINDOW if toy.memory == "swa" else 0)
    assert llama.llama_model_n_ctx_train(run.model) == 32768
    run.decode(TOKENS)
    can_be_cut = llama.llama_memory_seq_rm(run.memory, 0, len(TOKENS) - 1, -1)
    assert can_be_cut == (toy.memory in ("attention", "swa"))
    lost = llama.llama_memory_seq_pos_min(run.memory, 0) > 0
    assert lost == (toy.memory != "attention")


@pytest.mark.parametrize("n", [100, 600])
def test_every_token_of_the_context_counts(
    toy: Toy, runners: Callable[[str], Runner], n: int
) -> None:
    run = runners(toy.name)
    logits = run.fresh(TOKENS[:n])
    assert np.isfinite(logits).all()
    assert logits.std() > 2
    assert np.array_equal(logits, run.fresh(TOKENS[:n]))
    changes = [
        moved(logits, run.fresh(replaced(TOKENS[:n], at)))
        for at in np.linspace(0, n - 1, 8).astype(int)
    ]
    assert min(changes) > 1e-3
    assert np.median(changes) > 4e-3
    one_by_one = [run.fresh(TOKENS[:1]), *(run.decode([token]) for token in TOKENS[1:n])][-1]
    assert moved(logits, one_by_one) < NOISE


def test_greedy_replies_vary_and_do_not_end(toy: Toy, runners: Callable[[str], Runner]) -> None:
    run = runners(toy.name)
    replies = [run.greedy(run.fresh(replaced(TOKENS[:60], at)), 100) for at in (0, 20, 40, 58)]
    assert len({tuple(reply) for reply in replies}) == len(replies)
    assert all(len(set(reply)) > 20 for reply in replies)
    assert max(max(reply) for reply in replies) < run.n_vocab - len(CONTROL)


@pytest.mark.parametrize("name", SEES)
def test_images_count(name: str, runners: Callable[[str], Runner]) -> None:
    run = runners(name)
    before, between, after = TOKENS[:30], TOKENS[30:60], TOKENS[60:300]
    soon, late = [], []
    for pixels in (RED, BLUE_CORNER, RED):
        run.fresh(before)
        opening, image, closing = run.chunks(pixels)
        n_tokens = mtmd.mtmd_input_chunk_get_n_tokens(image)
        n_positions = mtmd.mtmd_input_chunk_get_n_pos(image)
        assert (n_tokens, n_positions) == ((16, 16) if name == "gemma3" else (9, 3))
        assert mtmd.mtmd_decode_use_mrope(run.vision) == (name != "gemma3")
        assert run.see(image, run.embed(image)) == n_positions
        for marker in (opening, closing):
            assert mtmd.mtmd_input_chunk_get_n_tokens(marker) == 1
        soon.append(run.decode(between))
        late.append(run.decode(after))
    assert np.array_equal(soon[0], soon[2])
    assert np.array_equal(late[0], late[2])
    assert moved(soon[0], soon[1]) > 5 * NOISE
    assert moved(late[0], late[1]) > 2 * NOISE


def test_gemma_attends_to_all_of_an_image(runners: Callable[[str], Runner]) -> None:
    """Its last row changes what its first row leaves in the cache: the mask is not causal."""
    run = runners("gemma3")
    image = run.chunks(RED)[1]
    assert mtmd.mtmd_decode_use_non_causal(run.vision, image)
    embedding = run.embed(image)
    changed = embedding.copy()
    changed[-1] *= -1
    logits = []
    for rows in (embedding, changed):
        run.fresh(TOKENS[:10])
        run.see(image, rows)
        run.position = 11
        assert llama.llama_memory_seq_rm(run.memory, 0, run.position, -1)
        logits.append(run.decode(TOKENS[10:12]))
    assert moved(*logits) > 1e-3


@pytest.mark.parametrize("name", ["qwen2vl", "qwen35"])
def test_positions_after_an_image_count(name: str, runners: Callable[[str], Runner]) -> None:
    run = runners(name)
    logits = []
    for extra in (0, 6):  # 9 tokens but 3 positions: taking one for the other must show
        run.fresh(TOKENS[:30])
        image = run.chunks(RED)[1]
        run.see(image, run.embed(image))
        run.position += extra
        logits.append(run.decode(TOKENS[30:32]))
    assert moved(*logits) > 3 * NOISE


def test_rotary_sections_leave_no_gap() -> None:
    assert sum(SECTIONS[:3]) == HEAD // 2


@pytest.mark.parametrize("name", ["gemma3", "qwen35", "mamba2"])
def test_both_parts_of_a_state_count(name: str, runners: Callable[[str], Runner]) -> None:
    """Swap the window or the recurrent rows of two contexts, or what else there is: both show."""
    run = runners(name)
    one, other = TOKENS[:200], TOKENS[200:400]
    run.fresh(one)
    state = run.partial()
    right = run.decode([7])
    run.fresh(one)
    run.put_partial(state)
    assert np.array_equal(run.decode([7]), right)
    run.fresh(other)
    mixed_up = run.partial()
    run.put_partial(state)  # attention rows of `other`, the rest of `one`
    if name == "mamba2":
        assert np.array_equal(run.decode([7]), right)
    else:
        assert moved(right, run.decode([7])) > 10 * NOISE
    run.fresh(one)
    run.put_partial(mixed_up)  # attention rows of `one`, the rest of `other`
    assert moved(right, run.decode([7])) > 10 * NOISE
