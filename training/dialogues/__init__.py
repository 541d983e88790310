"""Dialogues about pictures and told facts, made from random numbers.

`talked` makes one. What they are about and how they are worded is in the modules of this folder;
`drills` says what is asked how often.
"""

from __future__ import annotations

from training.dialogues.drills import DRILLS, USUAL, Drill, talked
from training.dialogues.looks import Looks
from training.dialogues.talk import NUMBERS, Dialogue, Message

__all__ = ["DRILLS", "NUMBERS", "USUAL", "Dialogue", "Drill", "Looks", "Message", "talked"]
