"""The tree of turns in the side bar, and what its buttons do."""

from __future__ import annotations

from tests.browser.lab import Open, ask, load
from tests.toys import Toy


def test_turns_versions_and_stale_cells(lab: Open, toy_llama: Toy) -> None:
    page = lab([load(toy_llama), ask("one"), ask("two")])
    page.run_all()
    page.expect(None, "fresh", "fresh")
    first = page.usage(1)
    page.command("llmagic:show-panel")
    panel = page.page.get_by_role("region", name="Turns of this conversation")
    panel.get_by_text("llmagic toy llama").wait_for()
    assert panel.locator(".llm-Turn").count() == 2
    assert panel.get_by_text("Memory", exact=True).count() == 1

    panel.locator(".llm-Turn-go").first.click()
    assert page.js("return panel.content.activeCellIndex;") == 1

    page.js("cells[1].sharedModel.setSource(argument);", ask("one, in other words"))
    page.run(1)
    panel.get_by_role("button", name="Run 1 stale cell").first.click()
    page.expect(None, "fresh", "fresh")
    panel.locator(".llm-Turn:not([data-current='true'])").first.wait_for()
    page.shot("panel")

    row = panel.locator(".llm-Turn[data-current='true']").first
    row.get_by_role("button", name="Versions").click()
    versions = panel.locator(".llm-Versions button")
    versions.first.wait_for()
    page.shot("versions")
    versions.first.click()
    page.wait("cells[1].sharedModel.getSource().endsWith('one')")
    assert page.usage(1)["turn"] == first["turn"]
    page.expect(None, "fresh", "outdated")
