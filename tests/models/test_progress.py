"""Lines about what takes time: with a bar, never wider than a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmagic.events import BAR, Downloading, Encoding, Event, Loading, Prefill, progress
from tests.models.hub import LocalHub, Repo
from tests.toys import Toy

MIB = 1 << 20


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Downloading("a.gguf", 0, 100 * MIB), f"downloading a.gguf: {'░' * BAR} 0.0 of 100.0 MiB"),
        (
            Downloading("x/a.gguf", 2560 * MIB, 5120 * MIB),
            f"downloading a.gguf: {'█' * 10}{'░' * 10} 2,560.0 of 5,120.0 MiB",
        ),
        (Downloading("a.gguf", 3 * MIB, 0), "downloading a.gguf: 3.0 MiB"),
        (Downloading("a.gguf", MIB, MIB), None),
        (Loading("model", 0.999), f"loading the model: {'█' * 19}░ 100%"),
        (Loading("model", 1.0), None),
        (Encoding(1, 4), f"looking at image 2 of 4: {'█' * 5}{'░' * 15}"),
        (Encoding(4, 4), None),
        (Prefill(1024, 4096), f"reading the prompt: {'█' * 5}{'░' * 15} 1,024 of 4,096 tokens"),
        (Prefill(7, 7), None),
    ],
)
def test_lines(event: Event, line: str | None) -> None:
    assert progress(event) == line


def test_a_line_fits_a_terminal() -> None:
    long = Downloading("folder/" + "a-very-long-name-" * 10 + ".gguf", 1, 999_999 * MIB)
    line = progress(long)
    assert line is not None
    assert len(line) < 100


@pytest.mark.skipif(sys.platform == "win32", reason="pexpect needs a pseudo-terminal")
def test_a_download_on_a_terminal_has_a_bar(
    local_hub: LocalHub, tmp_path: Path, toy_named: Callable[[str], Toy]
) -> None:
    import pexpect

    # A model that can be read, with something behind it that takes a while to download.
    data = toy_named("llama").model.read_bytes().ljust(16 * MIB, b"\0")
    local_hub.repos["u/a"] = Repo({"a-Q8_0.gguf": data})
    command = f"{sys.executable} -m llmagic models get u/a"
    environment = {**os.environ, "HF_ENDPOINT": local_hub.address, "HF_HOME": str(tmp_path / "hf")}
    child = pexpect.spawn(command, env=environment, timeout=300, encoding="utf-8")
    child.expect("downloading a-Q8_0.gguf: ░+ 0.0 of 16.0 MiB")
    child.expect(r"\r\x1b\[K.*a-Q8_0.gguf\r\n")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
