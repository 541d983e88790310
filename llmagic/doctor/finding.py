"""What a check found."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Status(enum.StrEnum):
    """`NOTE`: all works, and something could be better."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    name : str
        What was looked at.
    status : Status
    text : str
        What there is.
    mend : str
        The command that mends it; "" where nothing has to be.
    """

    name: str
    status: Status
    text: str
    mend: str = ""
