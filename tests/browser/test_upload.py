"""`llmagic.ImageUpload` in JupyterLab: choose, drop, reorder, remove, ask; reload and restart."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator

from tests.browser.lab import Lab, Open, ask, load
from tests.toys import Toy

GALLERY = "import llmagic\nup = llmagic.ImageUpload()\nup"
DROP = """(node, files) => {
  const transfer = new DataTransfer();
  for (const [name, data] of files)
    transfer.items.add(new File([new Uint8Array(data)], name, { type: 'image/png' }));
  const event = { dataTransfer: transfer, bubbles: true, cancelable: true };
  node.dispatchEvent(new DragEvent('dragover', event));
  node.dispatchEvent(new DragEvent('drop', event));
}"""


def png(width: int, seed: int = 0, height: int = 48) -> bytes:
    """Noise, which no format makes smaller."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def chosen(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/png", "buffer": data}


SAYS = "text => document.querySelector('.llmagic-upload-message').innerText.includes(text)"


class Gallery:
    """The widget as a person sees it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.root: Locator = lab.page.locator(".llmagic-upload")
        self.items = self.root.locator(".llmagic-upload-item")

    def choose(self, *files: dict[str, Any]) -> None:
        self.root.locator("input[type=file]").set_input_files(list(files))

    def expect(self, names: list[str], state: str | None = None) -> None:
        """Wait until these images are shown, in this order, with their thumbnails."""
        self.lab.page.wait_for_function(
            """([names, state]) => {
              const items = [...document.querySelectorAll('.llmagic-upload-item')];
              const shown = items.map(item => item.querySelector('.llmagic-upload-name').innerText);
              return JSON.stringify(shown) === JSON.stringify(names)
                && items.every(item => item.querySelector('img').naturalWidth > 0)
                && (state === null || items.every(item => item.dataset.state === state));
            }""",
            arg=[names, state],
        )

    def press(self, label: str) -> None:
        self.root.get_by_role("button", name=label, exact=True).click()

    def expect_message(self, begin: str) -> None:
        """Wait until the gallery says something that begins like this."""
        self.lab.page.wait_for_function(
            """begin => document.querySelector('.llmagic-upload-message')
              .innerText.startsWith(begin)""",
            arg=begin,
        )

    @property
    def message(self) -> str:
        return self.root.locator(".llmagic-upload-message").inner_text()


@pytest.fixture
def gallery(lab: Open, toy_qwen: Toy) -> Gallery:
    opened = lab(
        [load(toy_qwen), GALLERY, ask("{up} Which is larger?"), "[image.size for image in up]"]
    )
    opened.run(0)
    opened.run(1)
    found = Gallery(opened)
    found.root.wait_for()
    return found


def sizes(lab: Lab) -> list[list[int]]:
    lab.run(3)
    (output,) = lab.js("return cells[3].outputs.toJSON();")
    return [list(size) for size in eval(output["data"]["text/plain"])]


def test_choose_reorder_remove_and_ask(gallery: Gallery) -> None:
    lab = gallery.lab
    gallery.choose(chosen("a.png", png(40)), chosen("b.png", png(50)), chosen("c.png", png(60)))
    gallery.expect(["a.png", "b.png", "c.png"])
    gallery.press("Move c.png left")
    gallery.expect(["a.png", "c.png", "b.png"])
    at = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
    assert lab.page.evaluate(at) == "Move c.png left", "the keyboard goes on from there"
    gallery.press("Remove a.png")
    gallery.expect(["c.png", "b.png"], "encoded")
    assert "60 × 48, " in gallery.items.first.inner_text()
    assert "tokens, encoded" in gallery.items.first.inner_text()
    lab.shot("upload")
    lab.run(2)
    usage = lab.usage(2)
    assert usage["prompt"]["images"] == usage["evaluated"]["images"] == 2
    assert usage["encoded"]["images"] == 0
    assert sizes(lab) == [[60, 48], [50, 48]]
    # The same by drag and drop.
    gallery.root.evaluate(DROP, [["d.png", list(png(70))], ["e.png", list(png(80))]])
    gallery.expect(["c.png", "b.png", "d.png", "e.png"])
    gallery.items.nth(3).drag_to(gallery.items.nth(0))
    gallery.expect(["e.png", "c.png", "b.png", "d.png"])
    assert sizes(lab) == [[80, 48], [60, 48], [50, 48], [70, 48]]


def test_large_files(gallery: Gallery) -> None:
    """The server drops a message over 10 MiB without a word."""
    large = png(2400, height=1700)
    assert len(large) > 11 << 20
    gallery.choose(chosen("large.png", large), chosen("small.png", png(40)))
    gallery.expect(["large.png", "small.png"])
    assert sizes(gallery.lab) == [[2400, 1700], [40, 48]]
    code = "up.set_trait('largest', 1_000_000)"
    gallery.lab.js(
        "await panel.sessionContext.session.kernel.requestExecute({ code: argument }).done;", code
    )
    gallery.choose(
        chosen("larger.png", large), chosen("text.png", b"no image"), chosen("b.png", png(50))
    )
    gallery.expect(["large.png", "small.png", "b.png"])
    gallery.expect_message("larger.png has ")
    gallery.lab.page.wait_for_function(SAYS, arg=" text.png: ")
    assert "at most 1.0 MB" in gallery.message
    assert 'Use up.add("path") instead' in gallery.message
    gallery.choose(chosen("c.png", png(60)))
    gallery.expect(["large.png", "small.png", "b.png", "c.png"])
    gallery.lab.page.wait_for_function(f"text => !({SAYS})(text)", arg=".png")
    # Files wait for the cell that runs.
    lab = gallery.lab
    lab.js(
        "window.busy = panel.sessionContext.session.kernel.requestExecute({code: argument})",
        "import time; time.sleep(600)",
    )
    gallery.choose(chosen("d.png", png(40)))
    lab.page.wait_for_function(SAYS, arg="adding d.png …")
    lab.js("await panel.sessionContext.session.kernel.interrupt();")
    gallery.expect(["large.png", "small.png", "b.png", "c.png", "d.png"])
    lab.page.wait_for_function(f"text => !({SAYS})(text)", arg="adding")


def test_reload_and_restart(gallery: Gallery) -> None:
    """docs/upload.md: a reload shows the gallery again, a new kernel has none."""
    lab = gallery.lab
    gallery.choose(chosen("a.png", png(40)), chosen("b.png", png(50)))
    gallery.expect(["a.png", "b.png"], "encoded")
    book = lab.save()
    text = json.dumps(book)
    assert len(text) < 20_000
    assert "image/png" not in text
    assert "image/jpeg" not in text
    lab.reload()
    gallery.expect(["a.png", "b.png"], "encoded")
    gallery.press("Move b.png left")
    gallery.expect(["b.png", "a.png"])
    lab.js("await panel.sessionContext.restartKernel();")
    lab.run(0)
    lab.run(1)
    gallery.root.wait_for()
    gallery.expect([])
    lab.run(2)
    assert "holds no images yet" in lab.errors(2)
    # The store has what the encoder gave for them.
    gallery.choose(chosen("a.png", png(40)))
    gallery.expect(["a.png"], "encoded")
    lab.run(2)
    assert lab.usage(2)["encoded"]["images"] == 0
