"""Make the demo model from nothing: ``python -m training``, or ``make demo-model``."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from llmagic import __version__
from training.dialogues.scenes import TOKENS
from training.export import About, export
from training.plan import Plan, Round
from training.tokenizer import Tokenizer
from training.train import train

NEEDS = """\
The demo model is trained from nothing: two hours on two cores that multiply in bfloat16 (AVX-512
BF16, AMX), not quite three on others, 3 GB of memory, 100 MB of disk. It can be stopped at any time
(Ctrl+C); the same command goes on from the last checkpoint, in {folder}. Progress is also in
{folder}/log.jsonl.
"""

ABOUT = About(
    name="llmagic demo",
    description=(
        "A tiny model for trying llmagic: it knows pictures of coloured shapes and its own "
        "conversation, nothing else."
    ),
    version=__version__,
    image_tokens=TOKENS,
)


def main() -> None:
    """Train, and write both GGUF files."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/demo"), help="checkpoints, log")
    parser.add_argument(
        "--output", type=Path, help="the GGUF files (llmagic/demo; with --steps, where --folder is)"
    )
    parser.add_argument("--threads", type=_positive, default=_threads(), help="cores to train on")
    parser.add_argument(
        "--steps", type=_positive, help="one round of so many, and no more of pictures, to try it"
    )
    parser.add_argument("--type", choices=("F32", "F16", "Q8_0"), default="F16", help="of weights")
    parser.add_argument("--start", type=Path, help="begin with the GGUF files of this folder ...")
    parser.add_argument(
        "--first", type=int, default=0, help="... and with this round of the plan, from 0 on"
    )
    arguments = parser.parse_args()
    rounds, start = len(Plan().talk), arguments.start and _files(arguments.start)
    if start and arguments.steps:
        parser.error("--start begins in a round of the plan, so it goes without --steps")
    if not 0 <= arguments.first < rounds:
        parser.error(f"--first: expected 0 to {rounds - 1}, and got {arguments.first}")
    if start and not all(file.is_file() for file in start):
        names = " and ".join(file.name for file in start)
        parser.error(f"--start: expected a folder with {names}, and got {arguments.start}")
    output = arguments.output or (arguments.folder if arguments.steps else Path("llmagic/demo"))
    torch.set_num_threads(arguments.threads)
    print(NEEDS.format(folder=arguments.folder), flush=True)
    plan = _short(arguments.steps) if arguments.steps else Plan()
    try:
        tokenizer = _tokenizer(arguments.folder / "tokenizer.json")
        begin = (*start, arguments.first) if start else None
        model = train(arguments.folder, tokenizer, plan, start=begin)
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command goes on from the last checkpoint, if there is one.")
    output.mkdir(parents=True, exist_ok=True)
    files = _files(output)
    export(model, tokenizer, ABOUT, *files, arguments.type)
    for file in files:
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


def _short(steps: int) -> Plan:
    """A plan of one round."""
    plan = Plan()
    look = replace(plan.look, steps=min(steps, plan.look.steps))
    return replace(plan, look=look, talk=(Round(steps, warm_up=100, flat=0.35),))


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, and got {text!r}")
    return int(text)


def _files(folder: Path) -> tuple[Path, Path]:
    return folder / "demo.gguf", folder / "mmproj-demo.gguf"


def _tokenizer(file: Path) -> Tokenizer:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        Tokenizer.train().save(file)
    return Tokenizer.load(file)


def _threads() -> int:
    """All cores: what makes the dialogues needs 3 % of one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


if __name__ == "__main__":
    main()
