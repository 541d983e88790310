"""Every error through a real kernel: shown as one line, nothing lost, the next cell right."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.notebook.conftest import write_picture
from tests.notebook.kernel import Kernel, Outcome
from tests.toys import Toy, projectors, write


def huge_png() -> bytes:
    """A PNG of a few hundred bytes that says it is 100,000 pixels wide and high."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, toy_named: Callable[[str], Toy]) -> Path:
    """Files that are not what they should be."""
    folder = tmp_path_factory.mktemp("errors")
    qwen35 = toy_named("qwen35")
    assert qwen35.projector is not None
    data = qwen35.model.read_bytes()
    (folder / "cut.gguf").write_bytes(data[: len(data) // 2])
    (folder / "head.gguf").write_bytes(data[:20])
    (folder / "text.gguf").write_text("not a model")
    (folder / "cut-projector.gguf").write_bytes(qwen35.projector.read_bytes()[:-4000])
    (folder / "text.png").write_text("not a picture")
    (folder / "huge.png").write_bytes(huge_png())
    write_picture(folder / "good.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projectors, "N_EMBD", 64)
        write("gemma3", folder / "narrow")
    return folder


@pytest.fixture(scope="module")
def broken(folder: Path, toy_named: Callable[[str], Toy]) -> Iterator[Kernel]:
    """A kernel with a model and one turn, for cells that fail."""
    kernel = Kernel(folder)
    toy = toy_named("qwen35")
    kernel.load(toy.model, toy.projector, "--ctx", "1024")
    kernel.run(
        "broken = object()\nclass Bad:\n    def __str__(self): raise ValueError('no')\nbad = Bad()"
    )
    kernel.ask("What is this? ![](good.png)", "above")
    kernel.ask("And then?", "probe", "-t 0")
    yield kernel
    kernel.stop()


CELLS = [
    # code, error, words of the message
    ("%llm load nowhere.gguf", "ModelFileError", ["nowhere.gguf"]),
    ("%llm load text.gguf", "ModelFileError", ["text.gguf", "GGUF"]),
    ("%llm load head.gguf", "ModelFileError", ["head.gguf"]),
    ("%llm load cut.gguf", "ModelFileError", ["cut.gguf"]),
    ("%llm load .", "ModelFileError", []),
    (
        "%llm load {qwen35} --projector nowhere.gguf",
        "ModelFileError|ProjectorError",
        ["nowhere.gguf"],
    ),
    ("%llm load {qwen35} --projector text.gguf", "ModelFileError|ProjectorError", ["text.gguf"]),
    (
        "%llm load {qwen35} --projector cut-projector.gguf",
        "ModelFileError|ProjectorError",
        ["cut-projector.gguf"],
    ),
    (
        "%llm load {qwen35} --projector narrow/mmproj-gemma3.gguf",
        "ProjectorError",
        ["narrow/mmproj-gemma3.gguf", "128", "64"],
    ),
    ("%llm load {qwen35} --projector {qwen35}", "ModelFileError|ProjectorError", ["qwen35"]),
    ("%llm load {qwen35_projector}", "ModelFileError", ["mmproj-qwen35", "--projector"]),
    ("%llm load demo --image-tokens 3", "ProjectorError", ["--image-tokens", "at least 8", "3;"]),
    ("%llm load", "UsageError", ["MODEL"]),
    ("%llm load a.gguf b.gguf", "UsageError", ["b.gguf"]),
    ("%llm load a.gguf --projectr b.gguf", "UsageError", ["--projector"]),
    ("%llm load a.gguf --ctx many", "UsageError", ["many"]),
    ("%llm stauts", "UsageError", ["status"]),
    ("%llm status now", "UsageError", ["now"]),
    ("%llm laod a.gguf", "UsageError", ["load"]),
    ("%llm lod user/repo", "UsageError", ["load"]),
    ("%llm status --all", "UsageError", ["--all", "there are none"]),
    ("%%llm -a text.png\nWhat?", "ImageError", ["text.png"]),
    ("%%llm\n![](text.png) What?", "ImageError", ["text.png"]),
    ("%%llm -a nowhere.png\nWhat?", "ImageError", ["nowhere.png"]),
    ("%%llm -a huge.png\nWhat?", "ImageError", ["huge.png"]),
    ("%%llm -a broken\nWhat?", "ImageError", ["object"]),
    ("%%llm\nWhat is {bad}?", "PromptError", ["bad", "ValueError"]),
    ("%%llm\nWhat is {broken.x}?", "PromptError", ["broken.x", "AttributeError"]),
    ("%%llm\n" + "many words " * 300, "ContextFullError", ["1,024"]),
    ("%%llm", "UsageError", []),
    ("%%llm -t 0", "UsageError", []),
    ("%%llm\n  \n\t\n", "UsageError", []),
    ("%%llm --temprature 1\nWhat?", "UsageError", ["--temprature", "--temperature"]),
    ("%%llm -z\nWhat?", "UsageError", ["-z"]),
    ("%%llm -t hot\nWhat?", "UsageError", ["hot"]),
    ("%%llm -t -1\nWhat?", "UsageError", ["-1"]),
    ("%%llm --top-p 2\nWhat?", "UsageError", ["2"]),
    ("%%llm --max-tokens 0\nWhat?", "UsageError", ["0"]),
    ("%%llm --seed 4294967295\nWhat?", "UsageError", ["4294967295"]),
    ('%%llm --stop ""\nWhat?', "UsageError", ["--stop"]),
    ("%%llm -o 1st\nWhat?", "UsageError", ["1st"]),
    ("%%llm -o class\nWhat?", "UsageError", ["'class'"]),
    ("%%llm --think --no-think\nWhat?", "UsageError", ["--think and --no-think", "leave one out"]),
    ("%%llm -a broken.size\nWhat?", "ImageError", ["expression", "{broken.size}"]),
    ('%%llm --schema broken["x"]\nWhat?', "UsageError", ["NameError", "'D[\"x\"]'"]),
    ("%llm cache ls", "UsageError", ["`!llmagic cache ls`"]),
    ("%llm check demo --rounds 1", "UsageError", ["`!llmagic check demo --rounds 1`"]),
    ("%llm export missing/x.json", "UsageError", ["missing/x.json': No such file"]),
    ("%%llm -s 'You are\nWhat?", "UsageError", ["quot"]),
    ("%%llm What is this?\nWhat?", "UsageError", ["What"]),
    ("%%llm -m nowhere.gguf\nWhat?", "ModelFileError", ["nowhere.gguf"]),
]


@pytest.mark.parametrize(("code", "error", "words"), CELLS, ids=[repr(c[0][:50]) for c in CELLS])
def test_error(
    broken: Kernel, toy_named: Callable[[str], Toy], code: str, error: str, words: list[str]
) -> None:
    before = broken.ask("And then?", "probe", "-t 0")
    toy = toy_named("qwen35")
    code = code.replace("{qwen35}", str(toy.model)).replace(
        "{qwen35_projector}", str(toy.projector)
    )
    outcome = broken.run(code, "failing")
    assert_one_line(outcome, error, words)
    displays = outcome.of("display_data", "update_display_data")
    assert not displays or not displays[-1].text, "no line of progress stays"
    after = broken.ask("And then?", "probe", "-t 0")
    assert (after.text, after.usage["prompt"]) == (before.text, before.usage["prompt"])
    assert after.usage["encoded"]["images"] == 0, "nothing that was kept is lost"


def assert_one_line(outcome: Outcome, error: str, words: list[str]) -> None:
    assert outcome.error in error.split("|"), outcome.reply
    message = outcome.message
    assert message.startswith(f"{outcome.error}: ")
    assert "Traceback" not in message
    assert len(message) < 1500
    for word in words:
        assert word in message


def test_no_model_loaded(kernel: Kernel) -> None:
    kernel.run("%config LLMagic.model = 'none'")
    for code in ("%%llm\nWhat?", "%llm what is this?"):
        assert_one_line(kernel.run(code), "NoModelError", ["%llm load MODEL"])


def test_an_image_for_a_model_without_projector(kernel: Kernel, llama: Toy, tmp_path: Path) -> None:
    write_picture(tmp_path / "good.png")
    kernel.load(llama.model)
    before = kernel.ask("Hello", "a", "-t 0")
    outcome = kernel.ask("What? ![](good.png)", "b")
    assert_one_line(outcome, "ProjectorError", ["--projector"])
    assert kernel.ask("Hello", "a", "-t 0").text == before.text


def test_a_prompt_longer_than_the_context_says_both_counts(kernel: Kernel, llama: Toy) -> None:
    kernel.load(llama.model, None, "--ctx", "256")
    short = kernel.ask("Hello", "a", "-t 0")
    outcome = kernel.ask("a" * 1000, "b")
    # The toys' tokens are bytes.
    message = outcome.message.replace(",", "")
    counts = [
        int(word.strip(".,;:()")) for word in message.split() if word.strip(".,;:()").isdigit()
    ]
    assert 256 in counts
    assert any(1000 < count < 1200 for count in counts)
    assert kernel.ask("Hello", "a", "-t 0").text == short.text


def test_run_all_stops_at_a_failing_cell(kernel: Kernel) -> None:
    """What IPython calls a UsageError would go on."""
    outcome = kernel.run("%%llm")
    assert outcome.reply["status"] == "error"
