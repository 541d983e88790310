"""The tree of turns in the side bar, and what its buttons do."""

from __future__ import annotations

from tests.browser.lab import Open, ask, load
from tests.browser.test_badge import SLOW
from tests.toys import Toy


def test_turns_versions_and_stale_cells(lab: Open, toy_llama: Toy) -> None:
    page = lab([load(toy_llama), ask("one"), ask("two")])
    page.run_all()
    page.expect(None, "fresh", "fresh")
    first = page.usage(1)
    keyboard = page.page.keyboard
    page.command("apputils:activate-command-palette")
    keyboard.type("turns of the")
    found = page.page.locator(".lm-CommandPalette").get_by_text("Show Turns of the Conversation")
    found.wait_for()
    keyboard.press("Enter")
    panel = page.page.get_by_role("region", name="Turns of this conversation")
    panel.get_by_text("llmagic toy llama").wait_for()
    turns = panel.locator(".llm-Turn")
    page.wait("document.querySelectorAll('.llm-Turn').length === 2")
    assert panel.get_by_text("Memory", exact=True).count() == 1

    # With the keyboard: to the turn of the active cell, its buttons, and those of the one above.
    page.wait("document.activeElement.matches('.llm-Turn-go')")
    page.wait("document.activeElement.closest('.llm-Turn').dataset.cell === cells[2].id")
    for label in ("Pin turn 2", "Forget turn 2", "Versions of turn 2"):
        keyboard.press("Tab")
        assert page.focused() == label
    for _ in range(4):
        keyboard.press("Shift+Tab")
    assert page.focused() == "Versions of turn 1"

    panel.locator(".llm-Turn-go").first.click()
    assert page.js("return panel.content.activeCellIndex;") == 1

    page.write(1, ask("one, in other words"))
    page.run(1)
    panel.get_by_role("button", name="Run 1 stale cell").first.click()
    page.expect(None, "fresh", "fresh")
    panel.locator(".llm-Turn:not([data-current='true'])").first.wait_for()
    page.shot("panel")

    row = panel.locator(".llm-Turn[data-current='true']", has_text="1 one")
    row.get_by_text("1 one, in other words").wait_for()
    row.get_by_role("button", name="Versions").click()
    versions = panel.locator(".llm-Versions button")
    versions.first.wait_for()
    page.shot("versions")
    versions.first.click()
    page.wait("cells[1].sharedModel.getSource().endsWith('one')")
    page.expect(None, "fresh", "outdated")
    assert page.usage(1)["turn"] == first["turn"]
    assert not page.js("return cells[1].isDirty;"), "it reads as what it shows was given"
    assert page.focused() == "Turns of this conversation", "the button is gone, the focus is not"
    row.get_by_text("1 one", exact=True).wait_for()

    # Pin what is shown, forget a branch.
    row.get_by_role("button", name="Pin").click()
    row.get_by_role("button", name="Pin", pressed=True).wait_for()
    row.get_by_text("pinned").wait_for()
    count = turns.count()
    other = panel.locator(".llm-Turn:not([data-current='true'])").first
    other.get_by_role("button", name="Forget").click()
    page.page.locator(".jp-Dialog .jp-mod-accept").click()
    page.wait(f"document.querySelectorAll('.llm-Turn').length < {count}")

    # While a cell runs the panel says so, and asks again when it is done.
    page.write(0, SLOW)
    page.run(0)
    page.write(2, "%%llm --max-tokens 1000\nTell me more.")
    page.start(2)
    panel.get_by_text("per second").wait_for()
    row.get_by_role("button", name="Versions").click()
    page.page.get_by_text("The kernel is busy").first.wait_for()
    page.command("notebook:interrupt-kernel")
    versions.first.wait_for()
    panel.get_by_text("idle").wait_for()

    page.command("apputils:change-theme", theme="JupyterLab Dark")
    page.wait("document.body.dataset.jpThemeLight === 'false'")
    page.shot("dark")
    page.command("apputils:change-theme", theme="JupyterLab Light")
