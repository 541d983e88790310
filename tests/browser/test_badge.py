"""The line under a cell: what it shows, when it changes, what it survives."""

from __future__ import annotations

from tests.browser.lab import Open, ask, load
from tests.toys import Toy

SLOW = """
from llmagic.model.context import Context

quickly = Context.evaluate

def slowly(self, *args, **more):
    __import__("time").sleep(0.1)
    return quickly(self, *args, **more)

Context.evaluate = slowly
"""
"""Python that makes every token of a reply take so long that it can be interrupted."""


def test_stale_while_typing_and_run_again_in_order(lab: Open, toy_llama: Toy) -> None:
    page = lab([load(toy_llama), ask("one"), ask("two"), "x = 1", ask("three")])
    page.run_all()
    page.expect(None, "fresh", "fresh", None, "fresh")
    runs = len(page.sent())

    page.focus(2)
    page.page.keyboard.type("?")
    page.expect(None, "fresh", "edited", None, "outdated")
    page.shot("stale")
    page.page.keyboard.press("Backspace")
    page.expect(None, "fresh", "fresh", None, "fresh")

    page.select(2)
    page.command("notebook:move-cell-up")
    page.expect(None, "outdated", "outdated", None, "outdated")
    page.select(1)
    page.command("notebook:move-cell-down")
    page.expect(None, "fresh", "fresh", None, "fresh")

    page.select(1)
    page.command("notebook:delete-cell")
    page.expect(None, "outdated", None, "outdated")
    page.command("notebook:undo-cell-action")
    page.expect(None, "fresh", "fresh", None, "fresh")
    assert len(page.sent()) == runs, "nothing was run to find out"

    # With the keyboard and a screen reader.
    badge = page.strip(4).get_by_role("button", name="fresh.")
    badge.focus()
    page.page.keyboard.press("Enter")
    details = page.strip(4).locator(".llm-Details")
    details.wait_for()
    assert "of them were restored from the context" in details.inner_text()
    assert badge.get_attribute("aria-expanded") == "true"
    assert badge.get_attribute("aria-controls") == details.get_attribute("id")
    assert len(page.sent()) == runs, "the key did not run the cell"
    status = page.strip(4).get_by_role("status")
    assert status.inner_text() == "", "typing is not spoken"

    page.write(1, ask("one, in other words"))
    page.expect(None, "edited", "outdated", None, "outdated")
    page.command("llmagic:run-stale-cells")
    page.expect(None, "fresh", "fresh", None, "fresh")
    assert status.inner_text() == "Cell fresh."
    ran = [request["content"]["code"] for request in page.sent()[runs:]]
    assert ran == [page.source(index) for index in (1, 2, 4)]
    assert page.usage(4)["after"] == page.usage(2)["turn"]

    # The kernel goes on from what it has, also where the output was cleared.
    page.select(1)
    page.command("notebook:clear-cell-output")
    page.expect(None, "new", "fresh", None, "fresh")
    page.run(2)
    page.expect(None, "new", "replayed", None, "fresh")


def test_tomorrow_only_the_last_cell_is_run(lab: Open, toy_llama: Toy) -> None:
    page = lab([load(toy_llama), ask("one"), ask("two"), ask("three")])
    page.run_all()
    page.expect(None, "fresh", "fresh", "fresh")
    page.save()
    page.server.stop_kernels()
    page.reload()
    page.expect(None, "fresh", "fresh", "fresh")  # read from the file

    page.run(0)
    page.write(3, ask("three, but other words"))
    page.expect(None, "fresh", "fresh", "edited")
    usage = page.run(3)
    assert usage["restored"]["tier"] == "disk"
    assert usage["after"] == page.usage(2)["turn"]
    page.expect(None, "fresh", "fresh", "fresh")
    assert "reused (disk)" in page.text(3)
    page.shot("disk")
    assert [len(r["content"]["code"]) > 0 for r in page.sent()] == [True, True], "two cells ran"


def test_interrupted_and_failed_cells_say_so(lab: Open, toy_llama: Toy) -> None:
    long = "%%llm --max-tokens 1000\nTell me a story."
    page = lab([load(toy_llama) + SLOW, long, "%%llm --nonsense\nHi", ask("after them")])
    page.run(0)
    page.expect(None, "new", "new", "new")
    heights = [page.height(1)]
    page.start(1)
    page.expect(None, "running")
    page.strip(1).get_by_text("per second").wait_for()
    heights.append(page.height(1))
    page.shot("running")
    page.command("notebook:interrupt-kernel")
    page.expect(None, "interrupted", "new", "new")
    heights.append(page.height(1))
    assert len(set(heights)) == 1, "nothing moves while a reply streams"
    page.run(2)
    page.expect(None, "interrupted", "failed", "new")
    assert page.run(3)["after"] is None
    page.expect(None, "interrupted", "failed", "fresh")
    assert page.cell(3).get_by_text("not part of the context").count() == 0, "nobody thought so"
    page.shot("interrupted")
