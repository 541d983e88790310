"""How long, how fast and on what: the defaults are what `make demo-model` does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Round:
    """So many steps: the rates go up, stay, and go down if they do not stay to the end.

    Attributes
    ----------
    steps : int
    peak, warm_up, flat, end
        Fraction of the full learning rates, steps up to it, fraction of the steps up to its end,
        and fraction of it they go down to.
    vision : (float, float)
        Fractions of the steps between which the vision tower learns along.
    alike : bool
        Whether every answer counts the same, however long it is; otherwise every token does.
    simple : int
        So many pools at the beginning have dialogues of at most two pictures.
    drills : tuple of float
        Fractions of dialogues that are all questions of one sort: about one or two pictures, about
        several, about what was told, about places, counts and comparisons,
        sizes, comparisons alone, what two pictures both have, numbers, what is only asked in the
        later rounds, what stands beside what above all, and about shapes anywhere, in other words
        (`training.drill.DRILLS`).
    plots : float
        Fraction of the pictures that stand inside the axes of a plot.
    ratios : float
        Fraction of the pictures, plots too, that are of other sizes and ratios, as llama.cpp
        resizes them.
    whole : float
        Weight of the loss on what a picture has in all (`training.probes`).
    held_out : bool
        Whether names and words are ones that training never tells; for checks.
    """

    steps: int
    peak: float = 1.0
    warm_up: int = 1
    flat: float = 1.0
    end: float = 0.0
    vision: tuple[float, float] = (0.0, 1.0)
    alike: bool = True
    simple: int = 0
    drills: tuple[float, ...] = ()
    plots: float = 0.12
    ratios: float = 0.0
    whole: float = 0.0
    held_out: bool = False

    def rate(self, step: int) -> float:
        """Fraction of the full learning rates at a step of this round."""
        left = (self.steps - step) / max(1, self.steps - int(self.steps * self.flat))
        down = self.end + (1.0 - self.end) * left
        return self.peak * min(1.0, (step + 1) / self.warm_up, down)

    def sees(self, step: int) -> bool:
        """Whether the vision tower learns at a step of this round."""
        return self.vision[0] <= step / self.steps < self.vision[1]


@dataclass(frozen=True)
class Plan:
    """A whole training.

    Attributes
    ----------
    look : Round
        The first stage, the vision tower alone.
    pictures : int
        In a batch of the first stage.
    talk : tuple of Round
        The second stage, dialogues.
    tokens : int
        In a batch of the second stage.
    muon, adam : float
        Full learning rates.
    vision_rate : float
        Those of the vision tower in the second stage, as a fraction.
    other_text, auxiliary, number : float
        Weights of the loss on what is not the model's to say, of the vision tower's own, and on
        which picture a token is of (`training.probes`).
    """

    seed: int = 5
    look: Round = Round(800, warm_up=50, flat=0.35)
    pictures: int = 64
    talk: tuple[Round, ...] = (
        # Before, the vision tower would be spoilt by a language model that cannot use it yet.
        Round(900, warm_up=100, vision=(0.4, 1.0), alike=False, simple=20),
        # What takes long to learn has short answers, which are drowned by the long ones, and is
        # asked too seldom.
        Round(700, peak=0.8, drills=(0.5, 0.05, 0.1, 0.1)),
        # To look back, and to say letter by letter what was told.
        Round(700, peak=0.8, vision=(0.0, 0.7), drills=(0.12, 0.4, 0.15, 0.08, 0.0, 0.06)),
        # By now it sees. Where things stand, then three or four pictures compared.
        Round(800, peak=0.7, vision=(0.0, 0.0), drills=(0.05, 0.3, 0.08, 0.22, 0.08, 0.1)),
        Round(500, peak=0.7, vision=(0.0, 0.0), drills=(0.05, 0.15, 0.07, 0.12, 0.3, 0.1)),
        Round(
            500,
            peak=0.7,
            flat=0.0,
            end=0.6875,
            vision=(0.0, 0.0),
            drills=(0.04, 0.12, 0.07, 0.1, 0.34, 0.1),
        ),
        # What is left are comparisons and sizes.
        Round(600, peak=0.5, vision=(0.0, 0.0), drills=(0.03, 0.06, 0.05, 0.08, 0.12, 0.18, 0.38)),
        Round(
            1800,
            peak=0.5,
            flat=0.3,
            vision=(0.0, 0.0),
            drills=(0.02, 0.05, 0.05, 0.08, 0.1, 0.22, 0.12, 0.22),
            whole=0.2,
        ),
        # Counting is a little worse for it.
        Round(
            600,
            peak=0.25,
            warm_up=20,
            flat=0.0,
            vision=(0.0, 0.0),
            drills=(0.02, 0.05, 0.05, 0.1, 0.08, 0.12, 0.06, 0.1, 0.25),
            whole=0.2,
        ),
        # And what was told for that: at the end a little of everything.
        Round(
            500,
            peak=0.25,
            warm_up=20,
            flat=0.0,
            vision=(0.0, 0.0),
            drills=(0.02, 0.05, 0.15, 0.12, 0.08, 0.08, 0.05, 0.08, 0.15),
            whole=0.2,
        ),
        # Pictures of any ratio, which the vision tower has to learn, too; and what was never asked.
        Round(
            700,
            peak=0.6,
            warm_up=40,
            flat=0.5,
            end=0.5,
            drills=(0.03, 0.06, 0.06, 0.08, 0.06, 0.08, 0.05, 0.06, 0.08, 0.25),
            plots=0.15,
            ratios=0.5,
            whole=0.2,
        ),
        Round(
            700,
            peak=0.3,
            flat=0.0,
            vision=(0.0, 0.6),
            drills=(0.02, 0.05, 0.08, 0.08, 0.08, 0.07, 0.07, 0.08, 0.1, 0.17),
            plots=0.15,
            ratios=0.4,
            whole=0.2,
        ),
        # What stands beside what is asked too seldom for that.
        Round(
            500,
            peak=0.5,
            warm_up=20,
            flat=0.3,
            vision=(0.0, 0.5),
            drills=(0.02, 0.04, 0.08, 0.08, 0.05, 0.06, 0.06, 0.06, 0.08, 0.1, 0.25),
            plots=0.2,
            ratios=0.5,
            whole=0.2,
        ),
        # At the end a little of everything again, and slowly; of counting more than that.
        Round(
            400,
            peak=0.4,
            warm_up=20,
            flat=0.0,
            drills=(0.02, 0.03, 0.08, 0.06, 0.04, 0.05, 0.04, 0.05, 0.2, 0.08, 0.13),
            plots=0.2,
            ratios=0.5,
            whole=0.2,
        ),
        # Shapes anywhere and of any size, and other words.
        Round(
            1000,
            peak=0.6,
            warm_up=40,
            flat=0.6,
            end=0.5,
            drills=(0.02, 0.03, 0.05, 0.04, 0.03, 0.04, 0.03, 0.04, 0.06, 0.04, 0.05, 0.4),
            plots=0.2,
            ratios=0.4,
            whole=0.2,
        ),
        Round(
            800,
            peak=0.3,
            flat=0.0,
            drills=(0.02, 0.03, 0.06, 0.05, 0.04, 0.05, 0.04, 0.05, 0.1, 0.06, 0.08, 0.25),
            plots=0.2,
            ratios=0.4,
            whole=0.2,
        ),
    )
    tokens: int = 4096
    muon: float = 0.02
    adam: float = 3e-3
    vision_rate: float = 0.15
    other_text: float = 0.1
    auxiliary: float = 0.5
    number: float = 0.2
    check_every: int = 200
    save_every: int = 100

    @property
    def steps(self) -> int:
        """Of all rounds of the second stage."""
        return sum(part.steps for part in self.talk)

    def before(self, part: int) -> int:
        """Steps of the second stage before a round, the first of which is number 0."""
        return sum(each.steps for each in self.talk[:part])

    def at(self, step: int) -> tuple[Round, int]:
        """The round of a step of the second stage, and which of the round's steps it is."""
        for part in self.talk:
            if step < part.steps:
                return part, step
            step -= part.steps
        raise ValueError(f"expected a step below {self.steps}")
