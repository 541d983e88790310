"""The keyboard, scrolling, and copying: what belongs to a cell stays with it."""

from __future__ import annotations

import nbformat

from tests.browser.lab import KERNEL, Open
from tests.browser.test_images import attached, paste, picture


def test_tab_goes_through_badge_and_images(lab: Open) -> None:
    page = lab(["x = 1", "%%llm\nWhat is this?", "%%llm\nAnd?"])
    keyboard = page.page.keyboard
    paste(page, 1, picture())
    (name,) = attached(page, 1)
    page.expect(None, "new", "new")
    page.focus(1)
    keyboard.press("Escape")
    page.strip(1).locator(".llm-Badge").focus()
    assert page.strip(1).get_by_role("list", name="Images of this cell").count() == 1
    assert page.strip(1).get_by_role("img", name=name).count() == 1
    seen = [page.focused()]
    for _ in range(2):
        keyboard.press("Tab")
        seen.append(page.focused())
    unasked = "not run yet. This cell has not been run."
    assert seen == [unasked, f"Remove image {name}", unasked]
    assert page.js("return panel.content.activeCellIndex;") == 2, "the notebook follows the focus"
    page.strip(1).get_by_role("button", name=f"Remove image {name}").focus()
    keyboard.press("Enter")
    page.strip(1).locator("img").wait_for(state="detached")
    assert "cm-content" in page.focused(), "the image went, the focus is in its cell"
    assert page.source(1) == "%%llm\nWhat is this?"
    assert page.sent() == [], "no key ran a cell"


def test_scrolled_out_and_copied_to_another_notebook(lab: Open) -> None:
    page = lab(["%%llm\nWhat is this?", *["x = 1\n" * 20] * 40])
    paste(page, 0, picture())
    (name,) = attached(page, 0)
    page.strip(0).locator("img").wait_for()
    page.select(40)  # the active cell stays
    page.js(
        """const { content } = panel;
        content.notebookConfig = { ...content.notebookConfig, windowingMode: 'full' };
        await panel.content.scrollToItem(40, 'end');"""
    )
    page.strip(0).wait_for(state="detached")
    page.js("await panel.content.scrollToItem(0, 'start');")
    page.expect("new")
    page.strip(0).locator("img").wait_for()
    assert page.page.locator(".llm-Strip").count() == 1

    page.select(0)
    page.command("notebook:copy-cell")
    text = page.source(0)
    other = page.path.with_name("other.ipynb")
    nbformat.write(nbformat.v4.new_notebook(metadata=KERNEL), other)
    found = page.js(
        """const opened = await app.commands.execute('docmanager:open', { path: argument });
        await opened.context.ready;
        await opened.sessionContext.ready;
        app.shell.activateById(opened.id);
        await app.commands.execute('notebook:paste-cell-below');
        await opened.context.save();
        const [cell] = [...opened.content.model.cells].filter(c => c.getMetadata('llmagic'));
        const found = [cell.sharedModel.getSource(), cell.getMetadata('llmagic').attachments];
        await opened.sessionContext.shutdown();
        opened.dispose();
        return found;""",
        other.name,
    )
    assert found[0] == text
    assert list(found[1]) == [name]
