"""Models in real sessions and kernels: split files, names, sizes, settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmagic import Session
from llmagic.catalog.aliases import set_alias
from llmagic.errors import ModelError, ModelFileError, UsageError
from llmagic.model.context import physical_cores
from llmagic.model.gguf import read_header
from llmagic.model.library import llama
from llmagic.settings import Loading
from tests.models.hub import LocalHub, Repo
from tests.models.splitting import split
from tests.notebook.kernel import Kernel
from tests.probe.models import lora
from tests.toys import Toy

Named = Callable[[str], Toy]
SESSION = "get_ipython().magics_manager.registry['LLMagic'].session"
SETTINGS = {"max_tokens": 8, "temperature": 0}


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path)
    yield kernel
    kernel.stop()


# Split models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("small_first", [False, True])
def test_a_split_model_answers_as_the_whole_one(
    toy_named: Named, tmp_path: Path, small_first: bool
) -> None:
    toy = toy_named("llama")
    parts = split(toy.model, tmp_path, tensors=8, small_first=small_first)
    assert len(parts) > 2
    with Session(toy.model) as whole, Session(parts[1]) as halves:
        assert halves.engine.model.header.path == parts[0]
        assert halves.ask("Hello?", **SETTINGS).text == whole.ask("Hello?", **SETTINGS).text


@pytest.mark.parametrize("small_first", [False, True])
def test_every_part_counts_for_the_fingerprint(
    toy_named: Named, tmp_path: Path, small_first: bool
) -> None:
    parts = split(toy_named("llama").model, tmp_path, tensors=8, small_first=small_first)
    header = read_header(parts[0])
    assert header.total_bytes == sum(part.stat().st_size for part in parts)
    before = header.digest
    data = bytearray(parts[-1].read_bytes())
    data[-1] ^= 1
    parts[-1].write_bytes(data)
    assert read_header(parts[0]).digest != before


def test_a_missing_or_damaged_part_is_named(toy_named: Named, tmp_path: Path) -> None:
    parts = split(toy_named("llama").model, tmp_path, tensors=8)
    data = parts[2].read_bytes()
    parts[2].write_bytes(data[:-100])
    with pytest.raises(ModelFileError, match=f"{parts[2].name}' is truncated"):
        Session(parts[0])
    parts[2].unlink()
    with pytest.raises(ModelFileError, match=f"{parts[2].name} is missing"):
        Session(parts[0])
    parts[2].write_bytes(data)
    renamed = parts[0].rename(tmp_path / "renamed.gguf")
    with pytest.raises(ModelFileError, match="first part of a split model, named"):
        Session(renamed)


def test_a_doubled_token_does_not_end_the_process(toy_named: Named, tmp_path: Path) -> None:
    # llama-vocab.cpp:2544 asserts that there is none; the file is whole otherwise.
    data = toy_named("llama").model.read_bytes()
    one, other = (b"\x01\0\0\0\0\0\0\0" + token for token in (b"!", b"#"))
    assert one in data
    path = tmp_path / "doubled.gguf"
    path.write_bytes(data.replace(one, other, 1))
    with pytest.raises(ModelFileError, match=r"'#' twice.*Convert the model again"):
        Session(path)


def test_a_key_of_no_text_is_no_crash(toy_named: Named, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    data = toy_named("llama").model.read_bytes()
    assert b"general.name" in data
    path.write_bytes(data.replace(b"general.name", b"general.nam\xff", 1))
    assert read_header(path).architecture == "llama"


# Settings that cannot be ----------------------------------------------------------------------


def test_a_context_for_another_machine_is_refused(toy_named: Named) -> None:
    with pytest.raises(ModelError, match=r"fits this machine .* 2,000,000,000 tokens .*--ctx"):
        Session(toy_named("llama").model, n_ctx=2_000_000_000)
    with pytest.raises(UsageError, match=r"n_ctx to be a whole number from 0 to 2,147,483,647"):
        Session(toy_named("llama").model, n_ctx=10**12)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("n_threads", 513), ("n_threads_batch", 513), ("n_threads", -1), ("n_gpu_layers", -2)),
        *(("n_ctx", 1.5), ("n_ctx", True)),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"expected {name} to be a whole number from"):
        Loading(**{name: value})


def test_prompts_may_have_threads_of_their_own(toy_named: Named) -> None:
    def threads(**given: int) -> tuple[int, int]:
        with Session(toy_named("llama").model, loading=Loading(**given)) as session:
            assert session.engine.context is not None
            pointer = session.engine.context.pointer
            return llama.llama_n_threads(pointer), llama.llama_n_threads_batch(pointer)

    assert threads() == (physical_cores(), physical_cores())
    assert threads(n_threads=3) == (3, 3)
    assert threads(n_threads=1, n_threads_batch=2) == (1, 2)


def test_numbers_in_range_do_not_end_the_process(toy_named: Named) -> None:
    toy = toy_named("qwen2vl")
    code = f"""
from llmagic import Session
from llmagic.settings import Loading
for n_threads, image_tokens in (1, 1), (4, 1), (1, 1 << 20), (4, 1 << 20):
    loading = Loading(n_threads=n_threads, image_tokens=image_tokens, n_gpu_layers=99)
    try:
        Session({str(toy.model)!r}, loading=loading).close()
    except Exception as error:
        print(type(error).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {"ProjectorError"}


# In a kernel ----------------------------------------------------------------------------------


def test_a_model_of_the_hub_in_a_kernel(
    toy_named: Named, local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = toy_named("qwen2vl")
    assert toy.projector is not None
    local_hub.repos["u/toy"] = Repo(
        {"toy-Q8_0.gguf": toy.model.read_bytes(), "mmproj-F16.gguf": toy.projector.read_bytes()}
    )
    monkeypatch.setenv("HF_ENDPOINT", local_hub.address)
    kernel = Kernel(tmp_path)
    try:
        loaded = kernel.run("%llm load u/toy:Q8_0", "c1")
        assert ", projector " in loaded.text
        shown = loaded.of("display_data", "update_display_data")
        assert any("downloading toy-Q8_0.gguf: " in message.text for message in shown)
        first = kernel.run("%%llm --max-tokens 4 -m u/toy:Q8_0\nHello?", "c2")
        assert first.usage["generated"]["tokens"] > 0
        # A cell does not ask the hub, and "Run All" asks it once without downloading anything.
        local_hub.requests.clear()
        kernel.run("%%llm --max-tokens 4 -m u/toy:Q8_0\nHello?", "c2")
        assert local_hub.requests == []
        session = kernel.value(f"id({SESSION})")
        kernel.run("%llm load u/toy:Q8_0", "c1")
        assert local_hub.requests == ["GET /api/models/u/toy"]
        assert session == kernel.value(f"id({SESSION})")
        failed = kernel.run("%llm load u/other")
        assert failed.error == "HubError"
        assert "HF_TOKEN" in failed.message
        assert kernel.run("%%llm --max-tokens 4\nHello?", "c3").error is None
    finally:
        kernel.stop()


def test_names_and_options_in_a_kernel(kernel: Kernel, toy_named: Named, tmp_path: Path) -> None:
    toy = toy_named("llama")
    set_alias("small", str(toy.model))
    adapter = lora(tmp_path / "an adapter.gguf")
    loaded = kernel.run(
        f"%llm load small --ctx 300 --kv q8_0 --threads 1 --gpu-layers 0 --lora '{adapter}:0.5'"
    )
    assert "context of up to 300 tokens" in loaded.text
    loading = kernel.value(
        "get_ipython().magics_manager.registry['LLMagic'].session.engine.loading"
    )
    for part in ("kv_type='q8_0'", "n_threads=1", "n_gpu_layers=0", f"('{adapter}', 0.5)"):
        assert part in loading
    assert kernel.run("%%llm --max-tokens 4\nHello?").error is None


def test_a_replaced_adapter_is_loaded_anew(
    kernel: Kernel, toy_named: Named, tmp_path: Path
) -> None:
    adapter = tmp_path / "lora.gguf"
    load = f"%llm load {toy_named('llama').model} --lora {adapter}"
    lora(adapter)
    kernel.run(load)
    first = kernel.run("%%llm --max-tokens 4 --temperature 0\nHello?", "c1")
    session = kernel.value(f"id({SESSION})")
    kernel.run(load)
    assert session == kernel.value(f"id({SESSION})")
    # As a training writes it again: as large, under the same name.
    size = adapter.stat().st_size
    lora(adapter, scale=2.0)
    assert adapter.stat().st_size == size
    fingerprint = kernel.value(f"{SESSION}.engine.fingerprint")
    kernel.run(load)
    assert fingerprint != kernel.value(f"{SESSION}.engine.fingerprint")
    again = kernel.run("%%llm --max-tokens 4 --temperature 0\nHello?", "c1")
    assert again.usage["evaluated"]["tokens"] == first.usage["evaluated"]["tokens"]
    assert again.usage["restored"]["tokens"] == 0


def test_what_cannot_be_loaded_leaves_the_model(kernel: Kernel, toy_named: Named) -> None:
    toy = toy_named("llama")
    kernel.load(toy.model)
    for line, error, words in (
        (f"{toy.model} --ctx 2000000000", "ModelError", "fits this machine"),
        (f"{toy.model} --ctx 99999999999999", "UsageError", "n_ctx"),
        (f"{toy.model} --kv f32", "UsageError", "--kv"),
        (f"{toy.model} --threads 1000", "UsageError", "n_threads"),
        (f"{toy.model} --lora {toy.model}", "ModelFileError", "LoRA"),
        ("nothing", "UsageError", "expected a model"),
        (f"{toy.model} --projector {toy.model}", "ProjectorError", "clip"),
        (f"{toy.model} --projector x.gguf --no-projector", "UsageError", "leave one out"),
    ):
        outcome = kernel.run(f"%llm load {line}")
        assert (outcome.error, words in outcome.message) == (error, True), outcome.message
    assert kernel.run("%%llm --max-tokens 4\nHello?").error is None


def test_a_found_projector_can_be_left_out(kernel: Kernel, toy_named: Named) -> None:
    toy = toy_named("qwen2vl")
    assert ", projector " in kernel.run(f"%llm load {toy.model}").text
    assert ", projector " not in kernel.run(f"%llm load {toy.model} --no-projector").text
