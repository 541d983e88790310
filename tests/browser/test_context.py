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

    page.select(1)
    page.command("notebook:insert-cell-below")
    page.write(2, ask("between"))
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


def test_restart_reconnect_and_a_console_on_the_same_kernel(lab: Open, toy_llama: Toy) -> None:
    page = lab([load(toy_llama), ask("one"), ask("two")])
    page.run_all()
    page.expect(None, "fresh", "fresh")
    turns = [page.usage(index)["turn"] for index in (1, 2)]
    queued = [request["metadata"]["llmagic"] for request in page.sent()]
    assert [len(each["cells"]) for each in queued] == [3, 3, 3]

    page.js("void app.commands.execute('notebook:restart-run-all');")
    page.page.locator(".jp-Dialog .jp-mod-accept").click()
    page.expect(None, "replayed", "replayed")
    assert [page.usage(index)["turn"] for index in (1, 2)] == turns

    # The connection breaks, and comes back by itself.
    page.js(
        """const { kernel } = panel.sessionContext.session;
        const broken = new Promise(done => kernel.connectionStatusChanged.connect(
          (_, status) => { if (status !== 'connected') done(); }));
        window.sockets.forEach(socket => socket.close());
        await broken;"""
    )
    page.wait("panel.sessionContext.session.kernel.connectionStatus === 'connected'")
    page.write(1, ask("one, in other words"))
    first = page.run(1)
    assert first["after"] is None
    assert page.run(2)["after"] == first["turn"]
    page.expect(None, "fresh", "fresh")

    # What a console asks is a turn of its own: the notebook neither sends nor sees it.
    page.js(
        """const { path } = panel.context;
        const console = await app.commands.execute('console:create', {
          path, preferredLanguage: 'python', activate: false, ref: panel.id,
          insertMode: 'split-bottom', type: 'Linked Console'
        });
        await console.sessionContext.ready;
        await console.console.inject(argument);
        console.dispose();""",
        ask("from the console"),
    )
    sent = page.sent()[-1]
    assert sent["content"]["code"] == ask("from the console")
    assert "llmagic" not in sent["metadata"]
    page.write(2, ask("two, after the console"))
    assert page.run(2)["after"] == first["turn"]
    page.expect(None, "fresh", "fresh")


def test_notebook_7_on_the_same_notebook(lab: Open, toy_llama: Toy) -> None:
    """Two pages, one file and one kernel."""
    first = lab([load(toy_llama), ask("one"), ask("two")])
    first.run_all()
    first.expect(None, "fresh", "fresh")
    first.save()
    second = lab(None, app="notebook")
    second.expect(None, "fresh", "fresh")
    second.shot("notebook7")
    second.write(1, ask("one, in other words"))
    second.expect(None, "edited", "outdated")
    other = second.run(1)
    assert other["turn"] != first.usage(1)["turn"]
    assert second.run(2)["after"] == other["turn"]
    assert len(second.sent()[-1]["metadata"]["llmagic"]["cells"]) == 3
    second.expect(None, "fresh", "fresh")
    first.expect(None, "fresh", "fresh")
    # The kernel goes on from what ran last, on whichever page; the other page sees that.
    first.write(2, ask("two, in other words"))
    assert first.run(2)["after"] == other["turn"]
    first.expect(None, "fresh", "outdated")
    assert first.run(1)["generated"]["stop"] == "replayed"
    assert first.run(2)["after"] == first.usage(1)["turn"]
    first.expect(None, "replayed", "fresh")
