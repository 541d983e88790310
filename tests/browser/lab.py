"""A notebook in a browser, driven as a person drives it."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Locator

from tests.browser.desk import LIMIT, POLLING, START, Desk
from tests.toys import Toy


class Lab:
    """One notebook on a desk.

    Parameters
    ----------
    desk
        Where it is opened.
    name
        Of the file, without its suffix.
    cells
        Sources; those that begin with `# ` are markdown. None: the file is there.
    app
        "lab", or "notebook" for Notebook 7.

    Attributes
    ----------
    followed
        What is true of `kernel` when the extension follows the notebook.
    """

    followed = "Object.hasOwn(kernel, 'requestExecute')"

    def __init__(self, desk: Desk, name: str, cells: list[str] | None, app: str = "lab") -> None:
        self.desk, self.server = desk, desk.server
        self.context, self.page = desk.context, desk.page
        self.path = self.server.notebooks / f"{name}.ipynb"
        self.app = app
        if cells is not None:
            # What another test asked must not be replayed; the kernels that used it are gone.
            shutil.rmtree(self.server.store, ignore_errors=True)
            book = nbformat.v4.new_notebook(metadata=KERNEL)
            book.cells = [
                nbformat.v4.new_markdown_cell(source)
                if source.startswith("# ")
                else nbformat.v4.new_code_cell(source)
                for source in cells
            ]
            nbformat.write(book, self.path)
        if app == "lab":
            self.desk.open(self.path.name)
        else:
            self.desk.load(f"notebooks/{self.path.name}?")
        self._ready()

    def reload(self) -> None:
        """Load the page anew; the notebook's kernel is started if there is none."""
        where = "lab/tree" if self.app == "lab" else "notebooks"
        self.desk.load(f"{where}/{self.path.name}?{'reset&' * (self.app == 'lab')}")
        self._ready()

    def _ready(self) -> None:
        """Wait until the notebook can be used, and the extension follows it."""
        self.page.wait_for_function(
            f"() => {{ {PRELUDE} const session = panel?.sessionContext; "
            "const kernel = session?.session?.kernel;"
            "return session?.isReady && kernel?.status === 'idle' && cells.length > 0"
            f" && {self.followed}"
            " && panel.content.widgets.every(cell => cell.isAttached || cells.length > 20)"
            " && app.commands.isEnabled('notebook:run-all-cells'); }",
            timeout=START,
            polling=POLLING,
        )
        self.page.evaluate("() => { window.sent.length = 0; }")

    def close(self) -> list[str]:
        """End the kernel and close the notebook, without saving it; gives errors of the page."""
        console = [*self.desk.console]
        self.js("await panel.sessionContext.shutdown(); panel.dispose();")
        self.desk.clear()
        return console

    # --- scripts in the page -----------------------------------------------------------------

    def js(self, script: str, argument: Any = None) -> Any:
        """Run the body of a function in the page; `panel`, `cells` and `app` are there.

        When it is done everything it changed is drawn.
        """
        body = f"""async argument => {{
          {PRELUDE}
          const late = new Promise((_, fail) => setTimeout(
            () => fail(new Error('not done after {LIMIT} ms')), {LIMIT}));
          const done = await Promise.race([(async () => {{ {script} }})(), late]);
          for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
          return done;
        }}"""
        return self.page.evaluate(body, argument)

    def wait(self, condition: str) -> None:
        """Wait until an expression on `panel` and `cells` is true."""
        script = f"() => {{ {PRELUDE} return panel && ({condition}); }}"
        self.page.wait_for_function(script, polling=POLLING)

    def command(self, name: str, **arguments: Any) -> None:
        """Run one of JupyterLab's commands to its end."""
        self.js("await app.commands.execute(...argument);", [name, arguments])

    # --- cells -------------------------------------------------------------------------------

    def cell(self, index: int) -> Locator:
        return self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"]')

    def strip(self, index: int) -> Locator:
        return self.cell(index).locator(".llm-Strip")

    def height(self, index: int) -> float:
        """Pixels that a cell's badge takes."""
        return float(self.strip(index).evaluate("node => node.getBoundingClientRect().height"))

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
            self.page.wait_for_function(script, arg=list(kinds), polling=POLLING)
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

    def chord(self, *keys: str) -> None:
        """Press keys one right after the other; JupyterLab waits a second for the next."""
        self.page.evaluate(CHORD, keys)

    def complete(self, index: int, typed: str, chosen: str, expected: str) -> None:
        """Write into a cell, complete what is typed, and wait for the text that gives."""
        self.write(index, typed)
        self.focus(index)
        self.page.keyboard.press("Tab")
        done = f"cells[{index}].sharedModel.getSource() === {json.dumps(expected)}"
        # Where there is one thing to choose JupyterLab takes it at once.
        shown = ".jp-Completer:not(.lm-mod-hidden) .jp-Completer-item.jp-mod-active"
        item = f"document.querySelector('{shown}')"
        self.wait(f"{done} || {item}?.innerText.includes({json.dumps(chosen)})")
        if self.source(index) != expected:
            self.page.keyboard.press("Enter")
        self.wait(done)

    def focused(self) -> str:
        """What has the focus: the label of a button, else the class of a node."""
        script = "return document.activeElement.ariaLabel ?? document.activeElement.className;"
        return str(self.js(script))

    def set(self, **settings: Any) -> None:
        """Change settings of the extension, as the settings editor does."""
        self.js(
            """const { service } =
              app.pluginRegistry._plugins.get('@jupyterlab/apputils-extension:settings');
            for (const [key, value] of Object.entries(argument)) {
              await service.set('llmagic:plugin', key, value);
            }""",
            settings,
        )

    def source(self, index: int) -> str:
        return str(self.js("return cells[argument].sharedModel.getSource();", index))

    def write(self, index: int, source: str) -> None:
        """Replace a cell's text."""
        self.js("cells[argument[0]].sharedModel.setSource(argument[1]);", [index, source])

    def select(self, index: int) -> None:
        """Make a cell the active one."""
        self.js("panel.content.activeCellIndex = argument; panel.content.deselectAll();", index)

    def start(self, index: int) -> None:
        """Run a cell, and do not wait for it."""
        self.select(index)
        self.js("void app.commands.execute('notebook:run-cell');")

    def run(self, index: int) -> dict[str, Any]:
        """Run a cell to its end; gives the metadata of its reply, {} if there is none."""
        self.select(index)
        self.command("notebook:run-cell")
        return self.usage(index)

    def run_all(self) -> None:
        """Run all cells to their ends."""
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

    def drag(self, source: Locator, target: Locator) -> None:
        """Drag something of JupyterLab's own, which listens to the pointer."""
        source.hover()
        self.page.mouse.down()
        box = target.bounding_box()
        assert box is not None
        at = (box["x"] + 8, box["y"] + box["height"] / 2)
        self.page.mouse.move(at[0] - 30, at[1], steps=4)
        self.page.mouse.move(*at, steps=4)
        self.page.mouse.up()

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

CHORD = """keys => {
  for (const key of keys) {
    document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {
      key, code: `Key${key.toUpperCase()}`, keyCode: key.toUpperCase().charCodeAt(0),
      bubbles: true, cancelable: true
    }));
  }
}"""

PASTE = """(node, [name, data, mime]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(data), character => character.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type: mime }));
  node.dispatchEvent(new ClipboardEvent('paste', {
    clipboardData: transfer, bubbles: true, cancelable: true
  }));
}"""
