"""Print an executed notebook as a conversation, with what each cell restored and evaluated.

    python scripts/show_conversation.py NOTEBOOK

Exits with 1 when no cell left the output metadata `llmagic` (DESIGN, C2).
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WIDTH = 96


def text_of(value: str | list[str]) -> str:
    """A multi-line string of nbformat: a string, or its lines."""
    return value if isinstance(value, str) else "".join(value)


def turns(notebook: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Prompt, reply and usage of every %%llm cell that answered."""
    for cell in notebook["cells"]:
        source = text_of(cell["source"])
        if cell["cell_type"] != "code":
            continue
        for output in cell["outputs"]:
            usage = output.get("metadata", {}).get("llmagic")
            if usage:
                yield source, text_of(output["data"]["text/plain"]), usage


def images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"


def costs(usage: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the cell cost: one line each, label and value."""
    prompt, restored, evaluated = usage["prompt"], usage["restored"], usage["evaluated"]
    encoded, generated = usage["encoded"], usage["generated"]
    yield "prompt", f"{prompt['tokens']} tokens, {images(prompt['images'])}"
    yield (
        "restored",
        f"{restored['tokens']} tokens, {images(restored['images'])}, from {restored['tier']} "
        f"({restored['bytes']:,} bytes, {restored['ms']:.1f} ms)",
    )
    yield "evaluated", f"{evaluated['tokens']} tokens ({evaluated['ms']:.1f} ms)"
    yield "encoded", f"{images(encoded['images'])} ({encoded['ms']:.1f} ms)"
    yield (
        "generated",
        f"{generated['tokens']} tokens ({generated['ms']:.1f} ms, stop: {generated['stop']})",
    )


def block(text: str, mark: str) -> str:
    """`text` wrapped, every line behind `mark`."""
    width = WIDTH - len(mark)
    lines = (textwrap.wrap(line, width) or [""] for line in text.strip().split("\n"))
    return "\n".join(mark + piece for wrapped in lines for piece in wrapped)


def printable(text: str) -> str:
    """Replies of a noise model hold control characters that would confuse a terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    notebook = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    tokens = restored = count = 0
    for source, reply, usage in turns(notebook):
        count += 1
        print(f"[{count}] {usage['model']} " + "-" * 60)
        print(block(source, "    > "))
        print(block(printable(reply), "    < "))
        for label, value in costs(usage):
            print(f"      {label:>9}: {value}")
        print()
        tokens += usage["prompt"]["tokens"]
        restored += usage["restored"]["tokens"]
    if not count:
        raise SystemExit(f"{sys.argv[1]}: no output carries the metadata 'llmagic'; was it run?")
    print(
        f"{count} turns: {restored} of {tokens} prompt tokens were restored, not evaluated again."
    )


if __name__ == "__main__":
    main()
