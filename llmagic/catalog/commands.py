"""`llmagic models`: what is on disk and whether it fits; getting models, and names for them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from llmagic.catalog.aliases import aliases, aliases_file, remove_alias, set_alias
from llmagic.catalog.local import models_folder
from llmagic.catalog.names import lasting, resolve
from llmagic.events import Event

if TYPE_CHECKING:
    from llmagic.catalog.fit import Machine
    from llmagic.catalog.inventory import Entry

Tell = Callable[[Event], None]

HEADING = ("name", "size", "architecture", "memory", "images", "context", "fits")


def add(parser: argparse.ArgumentParser, tell: Tell) -> None:
    """Give a parser the actions; each sets `run`, a function from arguments to exit status."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_list)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    get = actions.add_parser("get", help="download a model, or find it, and print its files")
    get.add_argument("model", help="as for %%llm load: user/repo[:quant], an alias, a path")
    get.add_argument("--no-projector", action="store_true", help="without its projector")
    get.set_defaults(run=lambda arguments: _get(arguments, tell))
    alias = actions.add_parser("alias", help="give a model a short name")
    alias.add_argument("name", metavar="NAME")
    alias.add_argument("target", metavar="MODEL", help="a path or a hub's user/repo[:quant]")
    alias.set_defaults(run=_alias)
    unalias = actions.add_parser("unalias", help="forget a short name")
    unalias.add_argument("name", metavar="NAME")
    unalias.set_defaults(run=_unalias)


def rows(entries: Iterable[Entry], machine: Machine) -> list[Sequence[str]]:
    """The table of models, heading first. Aliases follow the models they stand for."""
    names: dict[str, list[str]] = {}
    for alias, target in aliases().items():
        names.setdefault(target, []).append(alias)
    table: list[Sequence[str]] = [HEADING]
    for entry in entries:
        about = entry.described(machine)
        also = names.pop(entry.name, []) + names.pop(str(entry.path), [])
        name = f"{entry.name} ({', '.join(sorted(also))})" if also else entry.name
        if entry.header is None:
            table.append((name, "-", "-", "-", "-", "-", entry.problem))
            continue
        table.append(
            (
                name,
                size(entry.n_bytes),
                about["architecture"],
                about["memory"],
                "yes" if about["images"] else "no",
                f"{about['context']:,}" if about["context"] else "-",
                _fits(about["fits"], about["needs"]),
            )
        )
    for target, left in names.items():
        table += [(alias, "-", "-", "-", "-", "-", f"stands for {target}") for alias in left]
    return table


def size(n_bytes: int) -> str:
    """Bytes for people."""
    if n_bytes >= 1 << 30:
        return f"{n_bytes / 2**30:.1f} GiB"
    return f"{n_bytes / 2**20:.1f} MiB"


def where(entries: Iterable[Entry]) -> str:
    """One line that says where models are looked for, and how to get one where there is none."""
    looked = f"Looked in {models_folder()} (LLMAGIC_MODELS) and the hub's cache."
    if any(entry.source != "package" for entry in entries):
        return looked
    return f"{looked} No other model is there yet: `llmagic models get user/repo` gets one."


def _fits(word: str, needs: int) -> str:
    return {
        "gpu": "yes, on the GPU",
        "yes": "yes",
        "tight": f"if {size(needs)} are free",
        "no": f"no, it needs {size(needs)}",
    }[word]


# --- the actions ----------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:
    from llmagic.catalog.fit import Machine  # loads llama.cpp
    from llmagic.catalog.inventory import inventory

    machine, entries = Machine.here(), inventory()
    if arguments.json:
        about = {
            "memory": {"total": machine.total, "available": machine.available, "gpu": machine.gpu},
            "folder": str(models_folder()),
            "aliases": aliases(),
            "models": [entry.described(machine) for entry in entries],
        }
        print(json.dumps(about, indent=2))
        return 0
    table = rows(entries, machine)
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADING))]
    for row in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    print(where(entries))
    return 0


def _get(arguments: argparse.Namespace, tell: Tell) -> int:
    from llmagic.model.gguf import read_header  # loads llama.cpp

    files = resolve(arguments.model, projector=not arguments.no_projector, tell=tell)
    found = [each for each in (files.model, files.projector) if each is not None]
    for each in found:
        read_header(each)  # it is there, and a model that can be loaded
    print(*found, sep="\n")
    return 0


def _alias(arguments: argparse.Namespace) -> int:
    target = lasting(arguments.target)
    set_alias(arguments.name, target)
    print(f"{arguments.name} stands for {target} ({aliases_file()})")
    return 0


def _unalias(arguments: argparse.Namespace) -> int:
    remove_alias(arguments.name)
    print(f"{arguments.name} is no alias any more")
    return 0
