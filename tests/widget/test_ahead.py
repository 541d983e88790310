"""Images are encoded between two cells: in a real kernel, by what the next cell says it did."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.notebook.kernel import LIMIT, Kernel
from tests.toys import Toy

MAGICS = "get_ipython().magics_manager.registry['LLMagic']"
MAKE = """
import llmagic, numpy as np
def pixels(seed, side=64):
    return np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
up = llmagic.ImageUpload()
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path)
    yield kernel
    kernel.stop()


@pytest.fixture
def toy(toy_named: Callable[[str], Toy]) -> Toy:
    return toy_named("qwen2vl")


def states(kernel: Kernel) -> list[str]:
    return list(eval(kernel.value("[item['state'] for item in up.items]")))


def wait_for(kernel: Kernel, wanted: list[str]) -> None:
    """Leave the kernel alone, and look now and then."""
    end = time.monotonic() + LIMIT
    while (found := states(kernel)) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.3)


def test_a_cell_finds_the_images_encoded(kernel: Kernel, toy: Toy) -> None:
    kernel.load(toy.model)
    kernel.run(f"{MAKE}\nup.add(pixels(1), pixels(2))")
    wait_for(kernel, ["encoded"] * 2)
    assert "tokens, encoded" in kernel.value("up.items[0]['caption']")
    usage = kernel.ask("{up} Which is larger?").usage
    assert usage["prompt"]["images"] == 2
    assert usage["encoded"] == {"images": 0, "ms": usage["encoded"]["ms"]}
    usage = kernel.ask("{up[1]} And this?").usage
    assert (usage["evaluated"]["images"], usage["encoded"]["images"]) == (1, 0)
    usage = kernel.ask("And these?", options="-a up").usage
    assert (usage["evaluated"]["images"], usage["encoded"]["images"]) == (2, 0)


def test_the_caption_has_the_tokens_that_the_prompt_gets(kernel: Kernel, toy: Toy) -> None:
    kernel.load(toy.model)
    kernel.run(f"{MAKE}\nup.add(pixels(1, 200))")
    wait_for(kernel, ["encoded"])
    tokens = int(kernel.value("up.items[0]['caption']").split(", ")[1].split()[0])
    kernel.run("%llm reset")
    without = kernel.ask("Hello", "a").usage["prompt"]["tokens"]
    kernel.run("%llm reset")
    assert kernel.ask("{up}Hello", "a").usage["prompt"]["tokens"] == without + tokens


def test_images_wait_for_a_model_and_are_encoded_for_the_next_one(
    kernel: Kernel, toy: Toy, toy_named: Callable[[str], Toy]
) -> None:
    kernel.run(f"{MAKE}\nup.add(pixels(1))")
    assert states(kernel) == ["waiting"]
    kernel.load(toy.model)
    wait_for(kernel, ["encoded"])
    kernel.load(toy_named("llama").model)
    wait_for(kernel, ["problem"])
    assert "takes no images" in kernel.value("up.items[0]['caption']")
    kernel.load(toy_named("gemma3").model)
    wait_for(kernel, ["encoded"])
    assert kernel.ask("{up} What is it?").usage["encoded"]["images"] == 0


def test_a_running_cell_stops_it(kernel: Kernel, toy: Toy) -> None:
    kernel.load(toy.model)
    kernel.run(
        f"""{MAKE}
import threading
from llmagic.model.vision import Projector
begun, goes_on, encode = [], threading.Event(), Projector.encode
def waits(self, media):
    begun.append(media.digest)
    goes_on.wait()
    return encode(self, media)
Projector.encode = waits
up.add(*(pixels(seed) for seed in range(5)))"""
    )
    end = time.monotonic() + LIMIT
    while kernel.value("len(begun)") == "0":
        assert time.monotonic() < end
        time.sleep(0.3)
    # One is in the making when this cell begins, and comes to its end; no other is begun.
    counted = kernel.run(
        f"""
import time
projector = {MAGICS}.session.engine.projector
goes_on.set()
while not projector.n_cached:
    time.sleep(0.01)
time.sleep(2)
made = projector.n_cached, len(begun)"""
    )
    assert counted.error is None, counted.message
    assert kernel.value("made") == "(1, 1)"
    wait_for(kernel, ["encoded"] * 5)
    assert kernel.ask("{up[4]} What is it?").usage["encoded"]["images"] == 0


def test_a_question_in_between_is_answered_as_without_it(kernel: Kernel, toy: Toy) -> None:
    kernel.load(toy.model)
    kernel.run(MAKE)
    alone = kernel.ask("{pixels(3)} What is it?", "a", "-t 0").text
    kernel.run("%llm reset")
    kernel.run("up.add(*(pixels(seed, 224) for seed in range(20)))")
    busy = kernel.ask("{pixels(3)} What is it?", "a", "-t 0")
    assert busy.text == alone
    # The model may be exchanged while an image is in the making.
    kernel.load(toy.model, None, "--ctx", "2048")
    assert kernel.ask("{up[0]} And this?", "b").error is None


def test_an_image_is_encoded_once_even_where_not_all_can_be_kept(kernel: Kernel, toy: Toy) -> None:
    kernel.run("%config LLMagic.image_budget = 1\n%config LLMagic.store = ''")
    kernel.load(toy.model)
    kernel.run(
        f"""{MAKE}
from llmagic.model.vision import Projector
ran = []
encode = Projector.encode
Projector.encode = lambda self, media: ran.append(media.digest) or encode(self, media)
up.add(pixels(1), pixels(2))"""
    )
    wait_for(kernel, ["encoded"] * 2)
    for _ in range(3):
        kernel.run("1 + 1")
        time.sleep(0.3)
    assert kernel.value("len(ran)") == "2"


def test_images_are_encoded_at_once_where_asked(kernel: Kernel, toy: Toy) -> None:
    kernel.run(MAKE)
    assert kernel.run("up.add(pixels(1))\nup.encode()").error == "NoModelError"
    kernel.load(toy.model)
    encoded = "assert [item['state'] for item in up.items] == ['encoded', 'encoded']"
    assert kernel.run(f"up.add(pixels(2))\nup.encode()\n{encoded}").error is None
    assert kernel.ask("{up} What is it?").usage["encoded"]["images"] == 0


def test_attachments_of_cells_below(kernel: Kernel, toy: Toy) -> None:
    """A front end sends them with the cell that runs; the next one finds them encoded."""
    kernel.load(toy.model)
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(stream, "PNG")
    data = stream.getvalue()
    attachment = {
        "mime": "image/png",
        "sha256": hashlib.sha256(data).hexdigest(),
        "data": base64.b64encode(data).decode(),
    }
    sources = ["%%llm --max-tokens 8 \nHello", "%%llm --max-tokens 8 \n![](attachment:x.png) What?"]
    cells: list[dict[str, Any]] = [
        {"id": name, "source": source, "turn": None}
        for name, source in zip("ab", sources, strict=True)
    ]
    cells[1]["attachments"] = {"x.png": attachment}
    document = {"version": 1, "notebook": "n.ipynb", "cells": cells}
    assert kernel.run(sources[0], "a", metadata={"llmagic": document}).usage["turn"]
    end = time.monotonic() + LIMIT
    while kernel.value(f"{MAGICS}.session.engine.projector.n_cached") == "0":
        assert time.monotonic() < end
        time.sleep(0.3)
    del attachment["data"]
    usage = kernel.run(sources[1], "b", metadata={"llmagic": document}).usage
    assert usage["prompt"]["images"] == 1
    assert usage["encoded"]["images"] == 0


def test_an_empty_gallery_says_so(kernel: Kernel, toy: Toy) -> None:
    kernel.load(toy.model)
    kernel.run(MAKE)
    for outcome in (kernel.ask("{up} What is it?"), kernel.ask("What?", options="-a up")):
        assert outcome.error == "ImageError"
        assert "holds no images yet" in outcome.message


def test_a_process_ends_while_it_encodes(toy: Toy) -> None:
    script = f"""
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in (
    "%load_ext llmagic",
    "%llm load {toy.model} --threads 1",
    {MAKE!r},
    "up.add(*(pixels(seed, 448) for seed in range(50)))",
):
    shell.run_cell(cell).raise_error()
print(sum(item["state"] == "encoded" for item in shell.user_ns["up"].items))
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < 50
