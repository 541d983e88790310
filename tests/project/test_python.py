"""docs/python.md names everything there is, with its defaults, and its example runs."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields

import pytest

from llmagic.session import Session, Turn
from llmagic.settings import Loading, Sampling
from tests.project.test_readme import PROJECT, run

PAGE = (PROJECT / "docs" / "python.md").read_text(encoding="utf-8")
_, EXAMPLE, TEXT = re.split(r"^```.*\n", PAGE, flags=re.MULTILINE)
NAMED = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`\n]+)`", TEXT))))
UNITS = {"2 GiB": 2 << 30, "512 MiB": 512 << 20}


def test_the_example_runs(tmp_path):
    assert int(run(EXAMPLE, tmp_path).split()[-2]) > 0


@pytest.mark.parametrize("kind", [Loading, Sampling, Turn])
def test_every_field_is_named(kind):
    assert {each.name for each in fields(kind)} <= NAMED


def test_everything_public_of_a_session_is_named():
    assert {name for name in vars(Session) if not name.startswith("_")} <= NAMED


@pytest.mark.parametrize("function", [Session.__init__, Session.ask])
def test_every_argument_has_a_row(function):
    rows = set(re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.MULTILINE))
    assert set(inspect.signature(function).parameters) - {"self", "settings"} <= rows


@pytest.mark.parametrize("kind", [Loading, Sampling])
def test_defaults_are_those_of_the_code(kind):
    told: dict[str, list[object]] = {}
    for names, values in re.findall(r"^\| (`[^|]+) \| ([^|]+) \| ", TEXT, flags=re.MULTILINE):
        for name, value in zip(re.findall(r"`(\w+)`", names), values.split(", "), strict=False):
            spelled = value.strip("`").replace('"', "'")
            told.setdefault(name, []).append(UNITS.get(spelled, spelled))
    for each in fields(kind):
        assert {each.default, repr(each.default)} & set(told[each.name]), each.name
