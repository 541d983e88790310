"""Highlighting, completion and commands."""

from __future__ import annotations

from tests.browser.lab import Open


def test_highlighting_completion_and_a_new_cell(lab: Open) -> None:
    page = lab(["%%llm\nSome **bold** words", "x = 1", "%%llm --max-t"])
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

    page.focus(2)
    keyboard.press("Tab")
    page.wait("document.querySelector('.jp-Completer-item')?.innerText.includes('--max-tokens')")
    keyboard.press("Enter")
    page.wait("cells[2].sharedModel.getSource() === '%%llm --max-tokens'")

    page.focus(1)
    for key in ("Escape", "q", "n"):
        keyboard.press(key)
    page.wait("panel.content.activeCell.editor?.getCursorPosition().line === 1")
    keyboard.insert_text("Hello")
    assert page.source(2) == "%%llm\nHello"
    page.expect("new", None, "new", "new")
