"""What goes over the wire with a run, and what the kernel makes of it."""

from __future__ import annotations

from tests.browser.lab import Open, ask, load
from tests.toys import Toy


def test_the_context_is_the_order_of_the_document(lab: Open, toy_llama: Toy) -> None:
    page = lab([load(toy_llama), ask("one"), ask("two"), "x = 1"])
    page.run(0)
    page.expect(None, "new", "new", None)
    first, second = page.run(1), page.run(2)
    assert second["after"] == first["turn"]
    page.expect(None, "fresh", "fresh", None)
    sent = page.sent()[-1]["metadata"]["llmagic"]
    ids = page.js("return cells.map(cell => cell.id);")
    assert [cell["id"] for cell in sent["cells"]] == [ids[0], ids[1], ids[2]]
    assert sent["notebook"] == page.path.name
    page.shot("fresh")

    page.js("panel.content.activeCellIndex = 1;")
    page.command("notebook:insert-cell-below")
    page.js(
        "cells[2].sharedModel.setSource(argument);",
        ask("between"),
    )
    page.expect(None, "fresh", "new", "fresh")
    between = page.run(2)
    assert between["after"] == first["turn"]
    page.expect(None, "fresh", "fresh", "outdated")
    again = page.run(3)
    assert again["after"] == between["turn"]
    page.expect(None, "fresh", "fresh", "fresh")


def test_a_notebook_that_does_not_ask_is_left_alone(lab: Open) -> None:
    page = lab(["# A title", "x = 1", "print('%%llm')"])
    page.run(1)
    page.run(2)
    assert len(page.sent()) == 2
    assert all("llmagic" not in request["metadata"] for request in page.sent())
    assert page.page.locator(".jp-NotebookPanel [class*='llm-']").count() == 0


def test_run_all_restart_and_a_console_on_the_same_kernel(lab: Open, toy_llama: Toy) -> None:
    page = lab([load(toy_llama), ask("one"), ask("two"), ask("three")])
    page.run_all()
    page.expect(None, "fresh", "fresh", "fresh")
    turns = [page.usage(index)["turn"] for index in (1, 2, 3)]
    queued = [request["metadata"]["llmagic"] for request in page.sent()]
    assert [len(each["cells"]) for each in queued] == [4, 4, 4, 4]

    page.js("await panel.sessionContext.session.kernel.restart();")
    page.run_all()
    page.expect(None, "replayed", "replayed", "replayed")
    assert [page.usage(index)["turn"] for index in (1, 2, 3)] == turns

    # What a console sends is not the notebook's.
    page.js(
        """const kernel = panel.sessionContext.session.kernel.clone
          ? panel.sessionContext.session.kernel.clone() : null;
        await kernel.requestExecute({ code: 'y = 2' }, true, { cellId: 'console' }).done;"""
    )
    assert "llmagic" not in page.sent()[-1]["metadata"]


def test_notebook_7_does_the_same(lab: Open, toy_llama: Toy) -> None:
    page = lab([load(toy_llama), ask("one"), ask("two")], app="notebook")
    page.run_all()
    page.expect(None, "fresh", "fresh")
    assert page.usage(2)["after"] == page.usage(1)["turn"]
    assert len(page.sent()[-1]["metadata"]["llmagic"]["cells"]) == 3
    page.shot("notebook7")
