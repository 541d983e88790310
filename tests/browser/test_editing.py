"""Highlighting, completion and commands."""

from __future__ import annotations

from tests.browser.lab import Open


def test_markdown_while_the_cell_asks(lab: Open) -> None:
    page = lab(["%%llm\nSome **bold** words", "x = 1"])
    cell = page.cell(0)
    cell.locator(".cm-line.llm-Magic").wait_for()
    bold = cell.locator(".cm-content").get_by_text("bold", exact=True)
    assert int(bold.evaluate("node => getComputedStyle(node).fontWeight")) >= 600
    page.shot("highlighting")
    page.focus(0, end=False)
    page.page.keyboard.press("Delete")
    cell.locator(".cm-line.llm-Magic").wait_for(state="detached")
    page.page.keyboard.insert_text("%")
    cell.locator(".cm-line.llm-Magic").wait_for()
    assert page.cell(1).locator(".llm-Magic").count() == 0


def test_completion_of_options(lab: Open) -> None:
    page = lab(["%%llm --max-t"])
    page.focus(0)
    page.page.keyboard.press("Tab")
    page.wait("document.querySelector('.jp-Completer-item')?.innerText.includes('--max-tokens')")
    page.page.keyboard.press("Enter")
    page.wait("cells[0].sharedModel.getSource() === '%%llm --max-tokens'")


def test_insert_a_cell_with_the_keyboard(lab: Open) -> None:
    page = lab(["x = 1"])
    page.focus(0)
    page.page.keyboard.press("Control+Alt+l")
    page.wait("panel.content.activeCell.editor?.getCursorPosition().line === 1")
    page.page.keyboard.insert_text("Hello")
    assert page.source(1) == "%%llm\nHello"
    page.expect(None, "new")
