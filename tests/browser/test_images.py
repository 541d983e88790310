"""Images in cells: pasted, dropped, asked about, removed, saved."""

from __future__ import annotations

import base64
import io
import json
import random

from PIL import Image

from tests.browser.lab import Lab, Open, ask, load
from tests.toys import Toy

DROP_FROM_A_PAGE = """(node, address) => {
  const transfer = new DataTransfer();
  transfer.setData('text/html', `<meta charset="utf-8"><img src="${address}" alt="">`);
  transfer.setData('text/plain', address);
  const { left, top } = node.getBoundingClientRect();
  node.dispatchEvent(new DragEvent('drop', {
    dataTransfer: transfer, clientX: left + 5, clientY: top + 25, bubbles: true, cancelable: true
  }));
}"""


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
    page.wait(f"cells[{index}].sharedModel.getSource() !== {json.dumps(before)}")


def test_paste_ask_edit_and_ask_again(lab: Open, toy_qwen: Toy) -> None:
    small = f"{load(toy_qwen)} --image-tokens 64"
    page = lab([small, ask("What is this?"), ask("And?")])
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

    # A photo that is larger than a message may be.
    photo = picture((3600, 2400), kind="JPEG", noise=True)
    assert len(photo) > 12_000_000
    paste(page, 2, photo, "photo.jpg", mime="image/jpeg")
    usage = page.run(2)
    assert page.errors(2) == ""
    assert usage["prompt"]["images"] == 2
    assert page.sent()[-1]["bytes"] < 6 * 1024 * 1024
    page.shot("photo")

    # The same picture, named by an option.
    (name,) = attached(page, 1)
    page.write(1, ask("What is this?", f" -a attachment:{name}"))
    page.save()
    assert attached(page, 1) == [name]
    assert page.strip(1).locator("img").count() == 1
    assert page.run(1)["prompt"]["images"] == 1
    assert page.errors(1) == ""


def test_undo_remove_duplicate_save_split_and_merge(lab: Open) -> None:
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

    page.select(0)
    page.command("notebook:duplicate-below")
    assert sorted(attached(page, 1)) == sorted([one, two])
    saved = page.save()
    assert set(saved["cells"][0]["metadata"]["llmagic"]["attachments"]) == {one, two}
    # A plain cell takes no image.
    page.focus(2)
    page.paste(2, "image.png", picture())
    assert page.source(2) == "x = 1"

    # Split: both parts keep what they refer to, whatever is saved in between; merge: the same.
    page.select(1)
    page.write(1, f"%%llm\nThis? ![](attachment:{one})\n%%llm\nAnd this? ![](attachment:{two})")
    page.js("cells[1]; panel.content.activeCell.editor.setCursorPosition({ line: 2, column: 0 });")
    page.command("notebook:split-cell-at-cursor")
    page.save()
    assert (attached(page, 1), attached(page, 2)) == ([one], [two])
    assert page.strip(2).locator("img").count() == 1
    page.js("panel.content.activeCellIndex = 1; panel.content.extendContiguousSelectionTo(2);")
    page.command("notebook:merge-cells")
    page.save()
    assert sorted(attached(page, 1)) == sorted([one, two])
    assert page.strip(1).locator("img").count() == 2


def test_dropped_and_broken_files(lab: Open) -> None:
    page = lab(["%%llm\nWhat is this?"])
    (page.server.notebooks / "from-browser.png").write_bytes(picture(shade=90))
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

    page.command("filebrowser:refresh")
    file = page.page.locator(".jp-DirListing-item", has_text="from-browser.png")
    file.wait_for()
    line = page.cell(0).locator(".cm-line").nth(1)
    page.drag(file, line)
    page.strip(0).locator("img").nth(1).wait_for()
    assert "![](attachment:from-browser.png)" in page.source(0)
    assert attached(page, 0) == ["bars.png", "from-browser.png"]

    # From another browser window: read where that is allowed, else by its address.
    data = f"data:image/png;base64,{base64.b64encode(picture(shade=9)).decode()}"
    for address in (data, "http://127.0.0.1:9/forbidden.png"):
        page.cell(0).locator(".cm-content").evaluate(DROP_FROM_A_PAGE, address)
    page.strip(0).locator("img").nth(2).wait_for()
    page.wait("cells[0].sharedModel.getSource().includes('![](http://127.0.0.1:9/forbidden.png)')")
    assert len(attached(page, 0)) == 3

    before = page.source(0)
    page.focus(0)
    page.paste(0, "broken.png", b"\x89PNG\r\n\x1a\nnothing more")
    page.page.get_by_text("broken.png cannot be read as an image").first.wait_for()
    assert (page.source(0), len(attached(page, 0))) == (before, 3)
    page.shot("broken_image")
