"""All checks, and how their findings are shown."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict

from llmagic.doctor import machine, packages
from llmagic.doctor.finding import Finding, Status

CHECKS: tuple[Callable[[], Finding | Iterable[Finding]], ...] = (
    packages.python,
    packages.packages,
    machine.llama_cpp,
    machine.threads,
    machine.gpu,
    machine.memory,
    packages.jupyter,
    packages.extensions,
    machine.store,
    machine.models,
)
"""In the order in which they are shown: what others stand on comes first."""


def examine() -> Iterator[Finding]:
    """Run every check; one that fails is a finding, too."""
    for check in CHECKS:
        try:
            found = check()
            yield from [found] if isinstance(found, Finding) else list(found)
        except Exception as error:
            text = f"could not be looked at: {type(error).__name__}: {error}"
            yield Finding(check.__name__.replace("_", "."), Status.PROBLEM, text)


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser its options and `run`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    findings = list(examine())
    problems = sum(each.status is Status.PROBLEM for each in findings)
    if arguments.json:
        print(
            json.dumps(
                {"ok": not problems, "checks": [asdict(each) for each in findings]}, indent=2
            )
        )
        return 1 if problems else 0
    width = max(len(each.name) for each in findings)
    for each in findings:
        print(f"{each.status.value:<8}{each.name:<{width}}  {each.text}")
        if each.mend:
            print(f"{'':<{8 + width}}  mend it: {each.mend}")
    print("all is well" if not problems else f"{problems} problem{'s' * (problems > 1)}")
    return 1 if problems else 0
