"""How long, how fast and on what: the defaults are what the shipped model was trained with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Round:
    """So many steps: the rates go up, stay, and go down to nothing.

    Attributes
    ----------
    steps : int
        Of the whole way down.
    leave : int, optional
        The step at which the round ends before that.
    peak, warm_up, flat
        Fraction of the full learning rates, steps up to it, fraction of the steps up to its end.
    vision : (float, float)
        Fractions of the steps between which the vision tower learns along.
    alike : bool
        Whether every answer counts the same, however long it is; otherwise every token does.
    choice : int
        Of so many dialogues, the one with most of the hard questions is taken.
    drills : tuple of float
        Fractions of dialogues that are all questions of one sort: about one or two pictures, about
        several, about what was told, about places, comparisons, sizes, which picture had something
        (`training.drill.DRILLS`).
    plots : float
        Fraction of the pictures that stand inside the axes of a plot.
    held_out : bool
        Whether names and words are ones that training never tells; for checks.
    simple : int
        So many pools at the beginning have dialogues of at most two pictures.
    """

    steps: int
    leave: int | None = None
    peak: float = 1.0
    warm_up: int = 100
    flat: float = 0.35
    vision: tuple[float, float] = (0.0, 1.0)
    alike: bool = True
    choice: int = 1
    simple: int = 0
    drills: tuple[float, ...] = ()
    plots: float = 0.0
    held_out: bool = False

    @property
    def length(self) -> int:
        """Steps that are done."""
        return self.steps if self.leave is None else self.leave

    def rate(self, step: int) -> float:
        """Fraction of the full learning rates at a step of this round."""
        down = self.steps - int(self.steps * self.flat)
        return self.peak * min(1.0, (step + 1) / self.warm_up, (self.steps - step) / down)

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
    other_text, auxiliary : float
        Weights of the loss on what is not the model's to say, and of the vision tower's own.
    """

    seed: int = 5
    look: Round = Round(700, warm_up=50)
    pictures: int = 64
    talk: tuple[Round, ...] = (
        # Before, the vision tower would be spoilt by a language model that cannot use it yet.
        Round(1900, leave=1400, vision=(0.3, 0.85), alike=False, simple=20),
        # What takes long to learn has short answers, which are drowned by the long ones.
        Round(800, leave=100, peak=0.8, vision=(0.0, 0.85), choice=2),
        Round(700, peak=0.8, warm_up=50, flat=0.4, vision=(0.0, 0.85), drills=(0.6,)),
        # By now it sees; what is left is to look back, and to say letter by letter what was told.
        Round(8000, leave=1600, peak=0.7, flat=0.9, vision=(0.0, 0.0), drills=(0.15, 0.4, 0.2)),
        # Places, which the vision tower has to tell it.
        Round(4000, leave=500, peak=0.7, warm_up=1, flat=0.9, drills=(0.1, 0.3, 0.1, 0.25)),
        Round(1000, peak=0.7, warm_up=1, flat=0.0, vision=(0.0, 0.5), drills=(0.1, 0.3, 0.1, 0.15)),
        # Comparing three or four pictures, with what it sees by now.
        Round(
            8000,
            leave=1100,
            peak=0.7,
            warm_up=50,
            flat=0.9,
            vision=(0.0, 0.0),
            drills=(0.05, 0.1, 0.05, 0.05, 0.45),
        ),
        Round(
            2000,
            peak=0.7,
            warm_up=1,
            flat=0.0,
            vision=(0.0, 0.0),
            drills=(0.05, 0.12, 0.05, 0.08, 0.35),
        ),
    )
    tokens: int = 4096
    muon: float = 0.02
    adam: float = 3e-3
    vision_rate: float = 0.15
    other_text: float = 0.1
    auxiliary: float = 0.5
    check_every: int = 100
    save_every: int = 100

    @property
    def steps(self) -> int:
        """Of all rounds of the second stage."""
        return sum(part.length for part in self.talk)

    def before(self, part: int) -> int:
        """Steps of the second stage before a round, the first of which is number 0."""
        return sum(each.length for each in self.talk[:part])

    def at(self, step: int) -> tuple[Round, int]:
        """The round of a step of the second stage, and which of the round's steps it is."""
        for part in self.talk:
            if step < part.length:
                return part, step
            step -= part.length
        raise ValueError(f"expected a step below {self.steps}")
