"""`llmagic check`: the report, the exit status, and that it notices."""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmagic import cli
from llmagic.checkpoint import payload
from llmagic.checkpoint.payload import Payload, Payloads
from llmagic.engine import check as check_module
from llmagic.errors import ModelError
from llmagic.model.context import Context
from llmagic.model.vision import Embedding, Projector
from llmagic.sequence import Media
from llmagic.session import Session
from llmagic.settings import Loading
from tests.probe import models
from tests.probe.conftest import Check, Opens
from tests.toys import Toy

LAYOUT = {"attention": "delta", "swa": "split", "hybrid": "split", "recurrent": "split"}
SEES = pytest.mark.parametrize("toy", ["gemma3", "qwen2vl", "qwen35"], indirect=True)
CANNOT_BE_CUT = pytest.mark.parametrize("toy", ["gemma3", "qwen35", "mamba2"], indirect=True)


def test_restoring_is_exact(toy: Toy, check: Check) -> None:
    begin = time.process_time()  # others may be busy on this machine
    status, report = check(toy)
    assert time.process_time() - begin < 5
    assert status == 0
    assert report["exact"] is True
    assert report["layout"] == LAYOUT[toy.memory]
    assert report["memory"] == toy.memory
    assert report["refused"] == []
    assert report["past_window"] == (toy.memory == "swa")
    assert (report["images"] is None) == (toy.projector is None)


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_quantised_caches_are_exact(toy: Toy, check: Check, kind: str) -> None:
    status, report = check(toy, "--rounds", "1", "--tokens", "128", "--kv", kind)
    assert status == 0
    assert report["exact"] is True
    assert report["layout"] == LAYOUT[toy.memory]


def test_quantised_caches_are_smaller(toy_named, check: Check) -> None:
    sizes = [
        check(toy_named("llama"), "--rounds", "1", "--tokens", "64", "--kv", kind)[1]
        for kind in ("f16", "q8_0", "q4_0")
    ]
    # Blocks of 32 values: 64, 34 and 18 bytes; 12 bytes a token say where it is.
    per_token = [size["bytes_per_token"] - 12 for size in sizes]
    assert [round(each / per_token[0], 3) for each in per_token] == [1, 0.531, 0.281]


def test_sizes_are_those_of_checkpoints(toy: Toy, check: Check, open_session: Opens) -> None:
    report = check(toy, "--rounds", "1")[1]
    session = open_session(toy)
    session.ask("word " * 300, max_tokens=1, temperature=0)
    node = next(node for node in session.engine.checkpoints.tree if node.stop > 300)
    n_tokens = sum(step.n_tokens for step in node.steps)
    expected = report["bytes_per_token"] * n_tokens + report["state_bytes"]
    assert node.payload.n_bytes == pytest.approx(expected, abs=64)


def test_a_model_without_text(tmp_path: Path, check: Check) -> None:
    toy = Toy("bare", models.bare(tmp_path / "bare.gguf"), None, "attention")
    status, report = check(toy)
    assert status == 0
    assert report["exact"] is True


def test_a_model_without_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = models.bare(tmp_path / "none.gguf", n_vocab=0)
    assert cli.main(["check", str(path)]) == 2
    assert "has no token at all" in capsys.readouterr().err


def large_pictures(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, n_ctx: int
) -> tuple[dict[str, Any], Loading]:
    """A check with four pictures of 196 tokens each, and how the model was loaded for it."""
    monkeypatch.setattr(check_module, "SIZES", ((448, 448),) * 3)
    loading = Loading(n_threads=1, n_ctx=n_ctx)
    return check_module.check(toy.model, toy.projector, loading), loading


def test_pictures_that_do_not_all_fit(toy_named, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = toy_named("qwen35")
    report, loading = large_pictures(toy, monkeypatch, 512)
    assert (report["layout"], report["exact"], report["refused"]) == ("split", True, [])
    assert report["images"]["count"] == report["rounds"] == 2
    assert report["tokens"] < 512
    with Session(toy.model, projector=toy.projector, loading=loading) as session:
        assert session.status()["layout"] == "split"


def test_not_even_one_picture_fits(toy_named, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = toy_named("qwen35")
    with pytest.raises(ModelError, match=r"one picture.*--image-tokens"):
        large_pictures(toy, monkeypatch, 256)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.gguf"], "there is none"),
        (["{empty}"], "has no .gguf file"),
        (["{folder}"], "begins with"),
        (["{text}"], "begins with"),
        (["{toy}", "--kv", "q3_k"], "f16, q8_0, q4_0"),
        (["{toy}", "--projector", "{toy}"], "architecture 'llama'"),
    ],
)
def test_what_cannot_be_loaded(
    toy_named, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("not a model")
    (tmp_path / "empty").mkdir()
    empty = tmp_path / "empty"
    names = {"folder": tmp_path, "empty": empty, "text": text, "toy": toy_named("llama").model}
    status = cli.main(["check", *(each.format(**names) for each in arguments)])
    captured = capsys.readouterr()
    assert status == 2
    assert said in captured.err
    assert captured.out == ""


def test_as_a_process(toy_named) -> None:
    toy = toy_named("llama")
    command = [sys.executable, "-m", "llmagic.cli", "check", str(toy.model), "--rounds", "1"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["exact"] is True


# What must be noticed ---------------------------------------------------------------------------


def test_a_wrong_header_is_noticed(
    toy_named, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Split rows that lose eight bytes load without complaint on a hybrid."""
    monkeypatch.setattr(payload, "HEADER", 0)
    status, report = check(toy_named("qwen35"), "--rounds", "1")
    assert [each["layout"] for each in report["refused"]] == ["split"]
    assert report["layout"] == "delta"
    assert status == 0


@CANNOT_BE_CUT
def test_a_lost_state_is_noticed(toy: Toy, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    put = Payloads.put

    def forgetful(self: Payloads, sequence: int, payloads: list[Payload], state: object) -> int:
        return put(self, sequence, payloads, None)

    monkeypatch.setattr(Payloads, "put", forgetful)
    report = check(toy, "--rounds", "1")[1]
    assert "split" in [each["layout"] for each in report["refused"]]


def test_one_flipped_bit_is_noticed(
    toy: Toy, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Context.write

    def flipping(
        self: Context, sequence: int, state: payload.Bytes, *, partial: bool = False
    ) -> bool:
        damaged = np.array(state)
        damaged[-1] ^= 0x40
        return write(self, sequence, damaged, partial=partial)

    monkeypatch.setattr(Context, "write", flipping)
    status, report = check(toy, "--rounds", "1")
    assert status == 1
    assert report["exact"] is False
    assert report["layout"] == "none"


@SEES
def test_images_are_part_of_the_verdict(
    toy: Toy, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder that never gives the same embedding twice, say."""
    encode = Projector.encode
    calls = itertools.count()

    def drifting(self: Projector, media: Media) -> tuple[Embedding, bool]:
        embedding, ran = encode(self, media)
        return embedding * np.float32(1 + next(calls) / 1000), ran

    monkeypatch.setattr(Projector, "encode", drifting)
    blind = Toy(toy.name, toy.model, None, toy.memory)
    assert check(blind, "--rounds", "1")[0] == 0
    status, report = check(toy, "--rounds", "1")
    assert status == 1
    assert report["layout"] == "none"
    assert report["images"]["count"] > 0


def test_a_model_that_looks_at_nothing_proves_nothing(tmp_path: Path, check: Check) -> None:
    path = models.bare(tmp_path / "deaf.gguf", deaf=True)
    status, report = check(Toy("deaf", path, None, "attention"))
    assert status == 1
    assert report["sensitive"] is False
    assert report["exact"] is False


def test_the_verdict_is_used_from_then_on(
    toy_named, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = toy_named("qwen35")
    with monkeypatch.context() as patched:
        patched.setattr(payload, "HEADER", 0)
        check(toy, "--rounds", "1")
    with Session(toy.model, projector=toy.projector) as session:
        assert session.status()["layout"] == "delta"
    check(toy, "--rounds", "1")
    with Session(toy.model, projector=toy.projector) as session:
        assert session.status()["layout"] == "split"
