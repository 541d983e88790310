"""A notebook in a browser, driven as a person drives it."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Locator, Page

from tests.browser.server import Server
from tests.toys import Toy

LIMIT = 180_000
"""Milliseconds anything on a page may take; the machine may be busy with other things."""

WATCH = """
window.sent = [];
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
  // The v1 protocol of kernel messages: offsets, then channel, header, parent, metadata, content.
  if (data instanceof ArrayBuffer || ArrayBuffer.isView(data)) {
    const bytes = new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const count = Number(view.getBigUint64(0, true));
    const offset = n => Number(view.getBigUint64(8 * (n + 1), true));
    const part = n => new TextDecoder().decode(bytes.subarray(offset(n), offset(n + 1)));
    if (count > 5) {
      const header = JSON.parse(part(1));
      if (header.msg_type === 'execute_request') {
        window.sent.push({
          bytes: bytes.length, metadata: JSON.parse(part(3)), content: JSON.parse(part(4))
        });
      }
    }
  }
  return send.call(this, data);
};
"""


class Lab:
    """One page with one notebook.

    Parameters
    ----------
    browser
        A Playwright browser; the page gets a context of its own.
    server
        Where the notebook is.
    cells
        Sources; those that begin with `# ` and a space are markdown.
    """

    def __init__(
        self,
        browser: Any,
        server: Server,
        name: str,
        cells: list[str],
        app: str = "lab",
        **page: Any,
    ) -> None:
        self.server = server
        # What another test asked must not be replayed; the kernels that used it are gone.
        shutil.rmtree(server.store, ignore_errors=True)
        self.path = server.notebooks / f"{name}.ipynb"
        self.app = app
        book = nbformat.v4.new_notebook(metadata=KERNEL)
        book.cells = [
            nbformat.v4.new_markdown_cell(source)
            if source.startswith("# ")
            else nbformat.v4.new_code_cell(source)
            for source in cells
        ]
        nbformat.write(book, self.path)
        self.context = browser.new_context(viewport={"width": 1200, "height": 900}, **page)
        self.context.set_default_timeout(LIMIT)
        self.context.add_init_script(WATCH)
        self.page: Page = self.context.new_page()
        self.console: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.open()

    def _on_console(self, message: Any) -> None:
        if message.type == "error" and "llmagic" in message.text:
            self.console.append(message.text)

    def open(self) -> None:
        """Load the page; the notebook's kernel is started if there is none."""
        where = "lab/tree" if self.app == "lab" else "notebooks"
        reset = "reset&" if self.app == "lab" else ""
        self.page.goto(
            self.server.url(f"{where}/{self.path.name}?{reset}token={self.server.token}")
        )
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        self.wait(
            "panel.sessionContext.isReady && "
            "panel.sessionContext.session?.kernel?.status === 'idle'"
        )

    def close(self) -> None:
        """Leave the page, and end its kernel."""
        assert self.console == []
        self.context.close()
        for session in self.server.api("sessions"):
            if session["path"].endswith(self.path.name):
                self.server.api(f"sessions/{session['id']}", "DELETE")

    # --- scripts in the page -----------------------------------------------------------------

    def js(self, script: str, argument: Any = None) -> Any:
        """Run the body of a function in the page; `panel`, `cells` and `app` are there."""
        body = f"async argument => {{ {PRELUDE} {script} }}"
        return self.page.evaluate(body, argument)

    def wait(self, condition: str) -> None:
        """Wait until an expression on `panel` and `cells` is true."""
        self.page.wait_for_function(f"() => {{ {PRELUDE} return panel && ({condition}); }}")

    def command(self, name: str, **arguments: Any) -> None:
        """Run one of JupyterLab's commands."""
        self.page.evaluate(
            "async ([name, args]) => { await window.jupyterapp.commands.execute(name, args); }",
            [name, arguments],
        )

    # --- cells -------------------------------------------------------------------------------

    def cell(self, index: int) -> Locator:
        return self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"]')

    def strip(self, index: int) -> Locator:
        return self.cell(index).locator(".llm-Strip")

    def kind(self, index: int) -> str | None:
        """The state that a cell's badge shows."""
        return self.strip(index).get_attribute("data-llmagic")

    def expect(self, *kinds: str | None) -> None:
        """Wait until the first cells show these states; None is a cell without a badge."""
        script = """kinds => {
          const nodes = [...document.querySelectorAll('.jp-Notebook .jp-Cell')];
          return kinds.every((kind, i) =>
            (nodes[i]?.querySelector('.llm-Strip')?.dataset.llmagic ?? null) === kind);
        }"""
        try:
            self.page.wait_for_function(script, arg=list(kinds), timeout=LIMIT)
        except Exception:
            shown = [self.kind(i) if self.strip(i).count() else None for i in range(len(kinds))]
            self.shot("unexpected")
            told = [self.errors(i) for i in range(len(kinds))]
            raise AssertionError(f"expected {kinds}, the badges show {shown}; {told}") from None

    def text(self, index: int) -> str:
        """The figures of a cell's badge."""
        return self.strip(index).locator(".llm-Badge").inner_text().replace("\n", " ")

    def focus(self, index: int, *, end: bool = True) -> None:
        """Put the cursor into a cell."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+End" if end else "Control+Home")

    def type(self, index: int, text: str) -> None:
        """Type at the end of a cell."""
        self.focus(index)
        self.page.keyboard.insert_text(text)

    def source(self, index: int) -> str:
        return str(self.js("return cells[argument].sharedModel.getSource();", index))

    def run(self, index: int) -> dict[str, Any]:
        """Run a cell to its end; gives the metadata of its reply, {} if there is none."""
        self.js(
            """panel.content.activeCellIndex = argument;
            panel.content.deselectAll();
            await app.commands.execute('notebook:run-cell');""",
            index,
        )
        return self.usage(index)

    def run_all(self) -> None:
        self.command("notebook:run-all-cells")

    def usage(self, index: int) -> dict[str, Any]:
        """The metadata that the kernel left in a cell's output."""
        found = self.js(
            """const outputs = cells[argument].outputs.toJSON();
            return outputs.map(output => output.metadata?.llmagic).filter(Boolean).at(-1) ?? {};""",
            index,
        )
        return dict(found)

    def errors(self, index: int) -> str:
        """The errors that a cell shows."""
        outputs = self.js("return cells[argument].outputs.toJSON();", index)
        return "\n".join(
            f"{o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error"
        )

    # --- files and the wire ------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Save; gives the file."""
        self.js("await panel.context.save();")
        return dict(json.loads(self.path.read_text()))

    def sent(self) -> list[dict[str, Any]]:
        """Every execute request that went over the wire since the page was loaded."""
        found = self.page.evaluate("() => window.sent")
        return [request for request in found if "cellId" in request["metadata"]]

    def paste(self, index: int, name: str, data: bytes, mime: str = "image/png") -> None:
        """Paste a file where the cursor is."""
        self.cell(index).locator(".cm-content").evaluate(
            PASTE, [name, base64.b64encode(data).decode(), mime]
        )

    def shot(self, name: str) -> None:
        """Keep a picture of the page."""
        folder = Path(__file__).parent / "screenshots"
        folder.mkdir(exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png")


def load(toy: Toy) -> str:
    """A cell that loads a model."""
    projector = f" --projector {toy.projector}" if toy.projector else ""
    return f"%load_ext llmagic\n%llm load {toy.model}{projector}"


def ask(text: str, options: str = "") -> str:
    """A cell that asks."""
    return f"%%llm --max-tokens 4{options}\n{text}"


Open = Callable[..., Lab]

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}

PRELUDE = """
const app = window.jupyterapp;
const panel = app && [...app.shell.widgets('main')].find(w => w.content?.widgets && w.context);
const cells = panel?.content?.model ? [...panel.content.model.cells] : [];
"""

PASTE = """(node, [name, data, mime]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(data), character => character.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type: mime }));
  node.dispatchEvent(new ClipboardEvent('paste', {
    clipboardData: transfer, bubbles: true, cancelable: true
  }));
}"""
