"""How long, how fast and on what: the defaults are what `make demo-model` does."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.dialogues import Looks

LOOKS = Looks(free=0.35, ratios=0.35, plots=0.18)
"""Of all pictures of the training."""


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
    drills : dict of str to float
        Fractions of dialogues that are all questions of one sort (`training.dialogues.DRILLS`).
    looks : Looks
        Of the pictures.
    whole, spots : float
        Weights of the losses on what a picture has in all, and on where each shape stands and how
        large it is (`training.probes`).
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
    drills: dict[str, float] = field(default_factory=dict)
    looks: Looks = LOOKS
    whole: float = 0.0
    spots: float = 0.0
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
        Round(900, warm_up=100, vision=(0.4, 1.0), alike=False, simple=20, spots=0.1),
        # What takes long to learn has short answers, which are drowned by the long ones, and is
        # asked too seldom.
        Round(
            600,
            peak=0.8,
            drills={"look": 0.5, "facts": 0.1, "which": 0.05, "where": 0.1},
            whole=0.1,
            spots=0.1,
        ),
        # To look back, and to say letter by letter what was told.
        Round(
            800,
            peak=0.8,
            drills={"which": 0.4, "facts": 0.15, "look": 0.1, "where": 0.1, "compare": 0.05},
            whole=0.2,
            spots=0.1,
        ),
        # Where things stand, which is the larger, and three or four pictures compared.
        Round(
            1600,
            peak=0.7,
            drills={
                "compare": 0.24, "where": 0.2, "size": 0.16, "which": 0.1, "facts": 0.1,
                "look": 0.04,
            },
            whole=0.2,
            spots=0.1,
        ),
        # A long way down, with a little of everything.
        Round(
            2800,
            peak=0.7,
            flat=0.3,
            vision=(0.0, 0.6),
            drills={
                "compare": 0.22, "where": 0.2, "size": 0.16, "which": 0.08, "facts": 0.12,
                "look": 0.04,
            },
            whole=0.2,
            spots=0.1,
        ),
        # Every word once more, above all comparisons; the tower has learnt.
        Round(
            1100,
            peak=0.4,
            warm_up=50,
            flat=0.2,
            vision=(0.0, 0.0),
            drills={
                "compare": 0.26, "where": 0.2, "facts": 0.18, "which": 0.12, "size": 0.06,
                "look": 0.04,
            },
            whole=0.2,
            spots=0.1,
        ),
    )  # fmt: skip
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
