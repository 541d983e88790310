"""Highlighting, completion, commands, and settings."""

from __future__ import annotations

import base64
import io

from PIL import Image

from tests.browser.lab import Lab, Open
from tests.browser.test_images import paste, picture


def test_highlighting_completion_and_commands(lab: Open) -> None:
    page = lab(["%%llm\nSome **bold** words", "x = 1; zebra = 2", "%%llm"])
    keyboard = page.page.keyboard
    cell = page.cell(0)
    cell.locator(".cm-line.llm-Magic").wait_for()
    bold = cell.locator(".cm-content").get_by_text("bold", exact=True)
    assert int(bold.evaluate("node => getComputedStyle(node).fontWeight")) >= 600
    assert cell.locator(".cm-lineWrapping").count() == 1
    page.shot("highlighting")
    page.focus(0, end=False)
    keyboard.press("Delete")
    cell.locator(".cm-line.llm-Magic").wait_for(state="detached")
    keyboard.insert_text("%")
    cell.locator(".cm-line.llm-Magic").wait_for()
    assert page.cell(1).locator(".llm-Magic, .cm-lineWrapping").count() == 0

    # Options, names of variables (also as values of options), images.
    paste(page, 0, picture())
    (name,) = page.js("return Object.keys(cells[0].getMetadata('llmagic').attachments);")
    (page.server.notebooks / "pictures").mkdir(exist_ok=True)
    (page.server.notebooks / "pictures" / "a bar.png").write_bytes(picture())
    page.run(1)
    complete = page.complete
    complete(2, "%%llm --max-tok", "--max-tokens", "%%llm --max-tokens")
    complete(2, "%%llm\nHow many {zeb", "zebra", "%%llm\nHow many {zebra")
    complete(2, "%%llm --image zeb", "zebra", "%%llm --image zebra")
    complete(2, "%%llm\n![](att", "attachment", f"%%llm\n![](attachment:{name}")
    complete(2, "%%llm\n![](pictures/a", "a%20bar", "%%llm\n![](pictures/a%20bar.png")

    page.focus(1)
    keyboard.press("Escape")
    page.chord("q", "n")
    page.wait("panel.content.activeCell.editor?.getCursorPosition().line === 1")
    keyboard.insert_text("Hello")
    assert page.source(2) == "%%llm\nHello"
    page.expect("new", None, "new", "new")

    # The palette.
    page.command("apputils:activate-command-palette")
    keyboard.type("llm cell")
    palette = page.page.locator(".lm-CommandPalette")
    palette.get_by_text("Run All Stale %%llm Cells").wait_for()
    palette.get_by_text("Insert %%llm Cell Below").click()
    page.wait("cells.length === 5 && panel.content.activeCellIndex === 3")
    assert page.source(3) == "%%llm\n"
    page.command("apputils:activate-command-palette")
    keyboard.type("turns of the")
    palette.get_by_text("Show Turns of the Conversation").click()
    panel = page.page.get_by_role("region", name="Turns of this conversation")
    panel.wait_for()
    page.focus(3)
    keyboard.press("Escape")
    page.chord("q", "t")
    page.wait("document.activeElement.id === 'llmagic-turns'")


def test_settings(lab: Open) -> None:
    page = lab(["%%llm\nSome **bold** words"])
    page.command("llmagic:show-panel")
    badge = page.strip(0).locator(".llm-Badge")
    badge.click()
    paste(page, 0, picture())
    try:
        page.set(badge=False, panel=False, highlight=False, imageSide=100)
        badge.wait_for(state="hidden")
        assert page.strip(0).locator(".llm-Details").is_hidden()
        assert page.strip(0).locator("img").is_visible(), "images stay"
        page.wait("!document.querySelector('#llmagic-turns')")
        assert page.page.locator("[data-id='llmagic-turns']").count() == 0
        page.command("llmagic:insert-cell")
        paste(page, 1, picture((400, 200)))
        assert page.cell(1).locator(".llm-Magic").count() == 0
        assert _size(page, 1) == (100, 50)
        noise = picture((100, 100), noise=True)
        assert len(noise) > 30_000
        page.command("llmagic:insert-cell")
        page.set(imageBytes=20_000)
        paste(page, 2, noise)
        assert _bytes(page, 2) <= 20_000
    finally:
        page.set(badge=True, panel=True, highlight=True, imageSide=2048, imageBytes=2_000_000)
    badge.wait_for()
    assert page.strip(0).locator(".llm-Details").is_visible()
    page.page.locator("[data-id='llmagic-turns']").wait_for()


def _image(page: Lab, index: int) -> bytes:
    """The image in a cell's metadata."""
    script = "return Object.values(cells[argument].getMetadata('llmagic').attachments);"
    (bundle,) = page.js(script, index)
    return base64.b64decode(next(iter(bundle.values())))


def _bytes(page: Lab, index: int) -> int:
    return len(_image(page, index))


def _size(page: Lab, index: int) -> tuple[int, int]:
    with Image.open(io.BytesIO(_image(page, index))) as image:
        return image.size
