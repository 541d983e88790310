"""Training, from nothing to weights: the vision tower alone, then all of it on dialogues.

Everything is counted in steps, not in time: the same seeds give the same model, however fast the
machine. What is under way is kept in a folder, and a run that was stopped goes on from there.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from training import vision
from training.data import Batch, Pools
from training.net import Model, Shape, quick
from training.optimiser import Optimiser
from training.pictures import Pictures
from training.plan import Plan, Round
from training.probes import Probes
from training.start import load
from training.tokenizer import Tokenizer
from training.vision import Eyes, embed, moved

HEADS = 100
"""Steps in which the auxiliary heads learn alone when the weights come from GGUF files."""


class Trainer:
    """The model, its optimiser and where they are.

    Parameters
    ----------
    folder : Path
        Checkpoints and the log.
    plan : Plan
    shape : Shape
    tell : callable
        Called with lines of progress.
    """

    def __init__(
        self, folder: Path, plan: Plan, shape: Shape, tell: Callable[[str], None] = print
    ) -> None:
        self.folder, self.plan, self.tell = folder, plan, tell
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(plan.seed)
        self.model = Model(shape).to(self.device)
        self.eyes = Eyes(shape.width).to(self.device)
        self.probes = Probes(shape).to(self.device)
        self.at: dict[str, int] = {"step": 0, "pool": 0, "in_pool": 0}
        torch._dynamo.config.recompile_limit = 64
        for block in (*self.model.text.blocks, *self.model.vision.blocks):
            block.compile(dynamic=False)

    def start(self, tokenizer: Tokenizer, text: Path, projector: Path, part: int) -> None:
        """Begin with the weights of two GGUF files, in a round of the plan, instead of `look`."""
        if self._file.exists():
            return
        load(self.model, text, projector)
        # Its pools are none that were learnt from.
        self.at = {"step": self.plan.before(part), "pool": 10_000 * (part + 1), "in_pool": 0}
        self._settle(tokenizer)

    def _settle(self, tokenizer: Tokenizer) -> None:
        """Let the auxiliary heads learn alone: no GGUF file has them.

        At random they would drag along what the model has learnt, since `Optimiser` takes a small
        gradient as far as a large one.
        """
        self.image = tokenizer.image
        parameters = [*self.probes.parameters(), *self.eyes.parameters()]
        heads = torch.optim.Adam(parameters, self.plan.adam)
        for step, (_, _, batch) in zip(range(HEADS), self._batches(tokenizer), strict=False):
            batch = moved(batch, self.device)
            groups = batch.pictures
            with torch.no_grad():
                seen = [embed(self.model.vision, group.pixels) for group in groups]
                states = self._states(batch, torch.cat(seen))
            probes = sum(self._probed(batch, states))
            eyes = sum(self.eyes(*each)[0] for each in zip(seen, groups, strict=True))
            loss = probes + eyes / len(groups)
            heads.zero_grad()
            loss.backward()
            heads.step()
            if (step + 1) % 20 == 0:
                self._log(stage="heads", step=step + 1, probes=probes.item(), eyes=eyes.item())

    def look(self) -> None:
        """Train the vision tower alone, or take it from the folder."""
        file, parts = self.folder / "vision.pt", (self.model.vision, self.eyes)
        plan = {"look": asdict(self.plan.look), "pictures": self.plan.pictures}
        if file.exists() and (kept := torch.load(file, map_location=self.device))["plan"] == plan:
            for part, state in zip(parts, kept["states"], strict=True):
                part.load_state_dict(state)
            return
        vision.look(*parts, self.plan, self.device, self._log)
        _save(file, {"plan": plan, "states": [part.state_dict() for part in parts]})

    def talk(self, tokenizer: Tokenizer) -> None:
        """Train on dialogues, until all steps are done."""
        plan, self.image = self.plan, tokenizer.image
        self.optimiser = Optimiser((self.model.text, self.probes), plan.muon, plan.adam)
        self.sight = Optimiser((self.model.vision, self.eyes), plan.muon, plan.adam)
        self._resume()
        held_out = Pools(plan.seed + 1, tokenizer, plan.tokens, Round(1, held_out=True))[0][:10]
        began, tokens, waited = time.monotonic(), 0, 0.0
        while self.at["step"] < plan.steps:
            asked = time.monotonic()
            for pool, number, batch in self._batches(tokenizer):
                waited += time.monotonic() - asked
                losses = self._learn(moved(batch, self.device))
                tokens += int(batch.text.sum()) + sum(len(p.places) for p in batch.pictures)
                step = self.at["step"] + 1
                self.at.update(step=step, pool=pool, in_pool=number + 1)
                if step % 20 == 0:
                    seconds = time.monotonic() - began
                    self._log(stage="dialogues", step=step, **losses, seconds=seconds,
                              waited=waited, tokens_per_second=tokens / seconds)  # fmt: skip
                if step % plan.check_every == 0 or step == plan.steps:
                    self._log(stage="held out", step=step, **self.check(held_out))
                if step % plan.save_every == 0 or step == plan.steps:
                    self.save()
                asked = time.monotonic()

    def _batches(self, tokenizer: Tokenizer) -> Iterator[tuple[int, int, Batch]]:
        """Batches with their places, from where the training is to the end of the round."""
        part, step = self.plan.at(self.at["step"])
        if step == 0 and self.at["step"]:
            # A round begins with a pool of its own.
            self.at.update(pool=self.at["pool"] + 1, in_pool=0)
        first, skip, left = self.at["pool"], self.at["in_pool"], part.steps - step
        pools = Pools(self.plan.seed, tokenizer, self.plan.tokens, part)
        for pool, batches in pools.from_pool(first):
            for number, batch in enumerate(batches):
                if pool > first or number >= skip:
                    yield pool, number, batch
                    left -= 1
                    if not left:
                        return

    # One step -------------------------------------------------------------------------------

    def _learn(self, batch: Batch) -> dict[str, float]:
        plan = self.plan
        part, step = plan.at(self.at["step"])
        sees = part.sees(step)
        with torch.set_grad_enabled(sees):
            seen, auxiliary = self._see(batch.pictures)
        states = self._states(batch, seen)
        # The embeddings of pictures and the padding are nobody's to foretell.
        there = batch.text[:, 1:]
        each = F.cross_entropy(
            self.model.text.logits(states[-1][:, :-1][there]),
            batch.ids[:, 1:][there],
            reduction="none",
        )
        owner = batch.answers[:, 1:][there]
        said = owner >= 0
        weights = (
            1 / owner[said].bincount()[owner[said]] if part.alike else torch.ones_like(each[said])
        )
        answers = (each[said] * weights).sum() / weights.sum()
        number, *whole, spots = self._probed(batch, states)
        probes = plan.number * number + part.whole * sum(whole) + part.spots * spots
        loss = answers + plan.other_text * each[~said].mean() + probes
        if sees:
            loss = loss + plan.auxiliary * auxiliary
        loss.backward()
        speed = part.rate(step)
        self.optimiser.step(speed)
        if sees:
            self.sight.step(speed * plan.vision_rate)
        losses = {"loss": loss, "answers": answers, "auxiliary": auxiliary, "probes": probes}
        return {name: value.item() for name, value in losses.items()}

    def _see(self, groups: list[Pictures]) -> tuple[Tensor, Tensor]:
        """Embeddings of the pictures, and the auxiliary loss."""
        seen, loss = [], torch.zeros((), device=self.device)
        for group in groups:
            seen.append(embed(self.model.vision, group.pixels))
            loss = loss + self.eyes(seen[-1], group)[0] / len(groups)
        if not seen:
            seen.append(torch.zeros(0, self.model.shape.width, device=self.device))
        return torch.cat(seen), loss

    def _states(self, batch: Batch, seen: Tensor) -> list[Tensor]:
        places = [group.places for group in batch.pictures]
        where = torch.cat(places) if places else batch.ids.new_zeros(0)
        with quick(self.device.type):
            return self.model.text(self.model.embed(batch.ids, seen, where), batch.positions)

    def _probed(self, batch: Batch, states: list[Tensor]) -> tuple[Tensor, ...]:
        kinds = torch.full_like(batch.ids, -1)
        measures = states[0].new_zeros(*kinds.shape, 5)
        for group in batch.pictures:
            kinds.view(-1)[group.places] = group.kinds
            measures.view(-1, 5)[group.places] = group.measures
        losses: tuple[Tensor, ...] = self.probes(states, batch.ids == self.image, kinds, measures)
        return losses

    @torch.no_grad()
    def check(self, batches: list[Batch]) -> dict[str, Any]:
        """Fraction of answers all of whose tokens are the likeliest, by task."""
        found: dict[str, list[bool]] = defaultdict(list)
        for batch in batches:
            batch = moved(batch, self.device)
            states = self._states(batch, self._see(batch.pictures)[0])
            wrong = self.model.text.logits(states[-1][:, :-1]).argmax(-1) != batch.ids[:, 1:]
            answers = batch.answers[:, 1:]
            missed = set(answers[wrong & (answers >= 0)].tolist())
            for number, task in enumerate(batch.tasks):
                found[task].append(number not in missed)
        by_task = {task: (sum(right) / len(right), len(right)) for task, right in found.items()}
        every = [right for part in found.values() for right in part]
        return {
            "right": sum(every) / len(every),
            "tasks": {task: [round(a, 3), n] for task, (a, n) in sorted(by_task.items())},
        }

    # Keeping --------------------------------------------------------------------------------

    @property
    def _file(self) -> Path:
        return self.folder / "training.pt"

    def save(self) -> None:
        """Write everything needed to go on."""
        state = {
            "shape": self.model.shape.dictionary(),
            "plan": asdict(self.plan),
            "at": self.at,
            "model": self.model.state_dict(),
            "eyes": self.eyes.state_dict(),
            "probes": self.probes.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "sight": self.sight.state_dict(),
        }
        _save(self._file, state)

    def _resume(self) -> None:
        if not self._file.exists():
            return
        kept = torch.load(self._file, map_location=self.device)
        if kept["plan"] != asdict(self.plan) or kept["shape"] != self.model.shape.dictionary():
            raise ValueError(
                f"{self._file} is of a run with another plan or another shape of model. "
                "Remove it to begin anew, or give the run another folder."
            )
        for name in ("model", "eyes", "probes", "optimiser", "sight"):
            getattr(self, name).load_state_dict(kept[name])
        self.at = kept["at"]
        self.tell(f"goes on from {self._file}: {self.at}")

    def _log(self, **values: Any) -> None:
        line = {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.tell("  ".join(f"{k} {v}" for k, v in line.items()))


def train(
    folder: Path,
    tokenizer: Tokenizer,
    plan: Plan | None = None,
    shape: Shape | None = None,
    start: tuple[Path, Path, int] | None = None,
) -> Model:
    """Train the demo model, or go on with a run that was stopped.

    Parameters
    ----------
    folder : Path
        Where checkpoints (``training.pt``) and the log (``log.jsonl``) go.
    tokenizer : Tokenizer
    plan : Plan, optional
    shape : Shape, optional
    start : (Path, Path, int), optional
        The two GGUF files whose weights to begin with, and the round of the plan to begin in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(folder, plan or Plan(), shape or Shape())
    if start:
        trainer.start(tokenizer, *start)
    else:
        trainer.look()
    trainer.talk(tokenizer)
    return trainer.model


def _save(file: Path, state: dict[str, Any]) -> None:
    """Whole or not at all."""
    temporary = file.with_suffix(".part")
    torch.save(state, temporary)
    os.replace(temporary, file)
