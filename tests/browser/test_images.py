"""Images in cells: pasted, dropped, asked about, removed, saved."""

from __future__ import annotations

import io
import random

from PIL import Image

from tests.browser.lab import Lab, Open, ask, load
from tests.toys import Toy


def picture(
    size: tuple[int, int] = (64, 64), shade: int = 0, kind: str = "PNG", noise: bool = False
) -> bytes:
    """An image file; noise cannot be compressed."""
    image = Image.new("RGB", size, (shade, 80, 200))
    image.paste((250, 220, shade), (size[0] // 4, size[1] // 3, size[0] // 2, size[1] // 2))
    if noise:
        image = Image.frombytes("RGB", size, random.Random(1).randbytes(3 * size[0] * size[1]))
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 98} if kind == "JPEG" else {}))
    return file.getvalue()


def attached(page: Lab, index: int) -> list[str]:
    """The names of the images in a cell's metadata."""
    script = "return Object.keys(cells[argument].getMetadata('llmagic')?.attachments ?? {});"
    return list(page.js(script, index))


def paste(page: Lab, index: int, data: bytes, name: str = "image.png", **more: str) -> None:
    """Paste at the end of a cell, and wait until it is there."""
    before = page.source(index)
    page.focus(index)
    page.paste(index, name, data, **more)
    page.page.wait_for_function(
        "([index, before]) => { const [app, panel] = [window.jupyterapp, "
        "[...window.jupyterapp.shell.widgets('main')].find(w => w.content?.widgets)];"
        "return panel.content.model.cells.get(index).sharedModel.getSource() !== before; }",
        arg=[index, before],
    )


def test_paste_ask_edit_and_ask_again(lab: Open, toy_qwen: Toy) -> None:
    page = lab([load(toy_qwen), ask("What is this?"), ask("And?")])
    page.run(0)
    paste(page, 1, picture())
    assert "![](attachment:image-" in page.source(1)
    assert page.strip(1).locator("img").count() == 1
    first = page.run(1)
    assert page.errors(1) == ""
    assert first["encoded"]["images"] == 1
    assert "1 image encoded" in page.text(1)

    page.type(1, " Say more.")
    page.expect(None, "edited", "new")
    second = page.run(1)
    assert second["encoded"]["images"] == 0
    assert second["evaluated"]["images"] == 0
    assert second["restored"]["images"] == 1
    assert "1 image reused" in page.text(1)
    page.shot("image")
    sent = [r["metadata"]["llmagic"]["cells"][1]["attachments"] for r in page.sent()[1:]]
    assert ["data" in next(iter(each.values())) for each in sent] == [True, False], "bytes go once"


def test_undo_remove_split_duplicate_and_save(lab: Open) -> None:
    page = lab(["%%llm\nWhat is this?", "x = 1"])
    paste(page, 0, picture())
    paste(page, 0, picture(shade=200))
    one, two = attached(page, 0)
    images = page.strip(0).locator("img")
    assert images.count() == 2

    page.strip(0).locator("li").first.hover()
    page.strip(0).get_by_role("button", name=f"Remove image {one}").click()
    images.nth(1).wait_for(state="detached")
    assert one not in page.source(0)
    page.save()
    assert attached(page, 0) == [two], "what no text refers to is not saved"
    page.focus(0)
    page.page.keyboard.press("Control+z")
    images.nth(1).wait_for()
    assert sorted(attached(page, 0)) == sorted([one, two])

    page.js("panel.content.activeCellIndex = 0; panel.content.deselectAll();")
    page.command("notebook:duplicate-below")
    assert sorted(attached(page, 1)) == sorted([one, two])
    saved = page.save()
    assert set(saved["cells"][0]["metadata"]["llmagic"]["attachments"]) == {one, two}
    # A plain cell takes no image.
    page.focus(2)
    page.paste(2, "image.png", picture())
    assert page.source(2) == "x = 1"


def test_a_large_photo(lab: Open, toy_qwen: Toy) -> None:
    page = lab([load(toy_qwen), ask("What is this?")])
    photo = picture((3600, 2400), kind="JPEG", noise=True)
    assert len(photo) > 12_000_000
    page.run(0)
    paste(page, 1, photo, "photo.jpg", mime="image/jpeg")
    usage = page.run(1)
    assert page.errors(1) == ""
    assert usage["prompt"]["images"] == 1
    assert page.sent()[-1]["bytes"] < 6 * 1024 * 1024


def test_dropping_a_file(lab: Open) -> None:
    page = lab(["%%llm\nWhat is this?"])
    page.cell(0).locator(".cm-content").evaluate(
        """(node, data) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(data)], 'bars.png', { type: 'image/png' }));
          const { left, top } = node.getBoundingClientRect();
          node.dispatchEvent(new DragEvent('drop', {
            dataTransfer: transfer, clientX: left + 5, clientY: top + 25, bubbles: true,
            cancelable: true
          }));
        }""",
        list(picture()),
    )
    page.strip(0).locator("img").wait_for()
    assert page.source(0) == "%%llm\n![](attachment:bars.png)What is this?"


def test_a_broken_image_says_so_and_changes_nothing(lab: Open) -> None:
    page = lab(["%%llm\nWhat is this?"])
    page.focus(0)
    page.paste(0, "broken.png", b"\x89PNG\r\n\x1a\nnothing more")
    page.page.get_by_text("broken.png cannot be read as an image").first.wait_for()
    assert (page.source(0), attached(page, 0)) == ("%%llm\nWhat is this?", [])
    page.shot("broken_image")
