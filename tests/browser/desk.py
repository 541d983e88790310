"""A page of the browser, on which notebooks are opened and closed."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

from tests.browser.server import Server

LIMIT = 90_000
"""Milliseconds anything on a page may take; the machine may be busy with other things."""

START = 180_000
"""The same for loading JupyterLab."""

POLLING = 100
"""Milliseconds between two looks at a condition; a look in every frame keeps the page busy."""


class Desk:
    """A browser's page with JupyterLab in it; notebooks are opened and closed on it.

    Loading JupyterLab takes ten seconds and more, opening a notebook one or two.

    Parameters
    ----------
    browser
        A Playwright browser; the page gets a context of its own.
    server
        Where the notebooks are.
    options
        Of the context.
    """

    def __init__(self, browser: Any, server: Server, **options: Any) -> None:
        self.server = server
        self.context = browser.new_context(
            viewport={"width": 1200, "height": 900}, reduced_motion="reduce", **options
        )
        self.context.set_default_timeout(LIMIT)
        self.context.set_default_navigation_timeout(START)
        self.context.add_init_script(WATCH)
        self.page: Page = self.context.new_page()
        self.console: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", self._on_error)
        # Whether JupyterLab is there, into which another notebook can be opened.
        self._is_loaded = False

    def _on_console(self, message: Any) -> None:
        if message.type == "error" and "llmagic" in message.text:
            self.console.append(message.text)

    def _on_error(self, error: Any) -> None:
        """What nobody caught; Notebook 7 has such errors of its own at every start."""
        text = f"{error}\n{getattr(error, 'stack', '') or ''}"
        if self._is_loaded or "llmagic" in text:
            self.console.append(text)

    def open(self, name: str) -> None:
        """Open a notebook, without loading the page again if there is one."""
        if self._is_loaded:
            # What the command gives is a widget, which cannot leave the page.
            script = "async path => { await window.jupyterapp.commands.execute('docmanager:open', "
            self.page.evaluate(script + "{ path }); }", name)
        else:
            self.load(f"lab/tree/{name}?reset&")

    def load(self, address: str) -> None:
        """Load the page."""
        self._is_loaded = address.startswith("lab")
        self.page.goto(self.server.url(f"{address}token={self.server.token}"))

    def clear(self) -> None:
        """Leave the desk as it was found."""
        if self._is_loaded:
            self.page.evaluate(CLEAR)
        self.console.clear()

    def close(self) -> None:
        self.context.close()


WATCH = """
window.sent = [];
window.sockets = [];
window.WebSocket = class extends WebSocket {
  constructor(...given) { super(...given); window.sockets.push(this); }
};
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

CLEAR = """async () => {
  const app = window.jupyterapp;
  for (const widget of [...app.shell.widgets('main')]) if (widget.context) widget.dispose();
  app.shell.collapseRight();
  await app.commands.execute('apputils:dismiss-notification', {}); // all of them
}"""
