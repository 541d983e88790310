"""Replies that have a form: the model's text is noise, so only the grammar makes them fit."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field, TypeAdapter, field_validator
from typing_extensions import TypeAliasType, TypedDict  # Python 3.12 has them, too

from llmagic.errors import ReplyError, UsageError
from llmagic.events import Event, Notice
from llmagic.prompt.schema import schema_of
from llmagic.session import Session
from llmagic.settings import Loading, Sampling
from tests.replies.schemas import SCHEMAS, SMALL
from tests.session.conftest import Opens
from tests.toys import Toy

HOT = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


class Person(BaseModel):
    name: str = Field(max_length=8)
    age: int = Field(ge=0, le=120)
    mood: Literal["good", "bad"] | None = None


@dataclasses.dataclass
class Point:
    x: bool
    label: Literal["a", "b"]


class Pair(TypedDict):
    left: bool
    right: bool


class Never(BaseModel):
    yes: bool

    @field_validator("yes")
    @classmethod
    def refuse(cls, _: bool) -> bool:
        raise ValueError("never this one")


@pytest.fixture(scope="module")
def session(toy_named: Callable[[str], Toy]) -> Any:
    with Session(toy_named("llama").model, loading=Loading(n_threads=1)) as session:
        yield session


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_kept(session: Session, name: str) -> None:
    schema = SCHEMAS[name]
    # Not the most likely token always: of noise that is one digit without end.
    for seed in (1, 2):
        turn = session.ask(name, after=None, schema=schema, max_tokens=1000, seed=seed, **HOT)
        assert turn.stop == "end"
        assert turn.data == json.loads(turn.text)
        validator = jsonschema.validators.validator_for(
            schema, default=jsonschema.Draft202012Validator
        )
        validator(schema).validate(turn.data)


def test_the_same_question_without_the_schema_is_noise(session: Session) -> None:
    turn = session.ask("reference", after=None, max_tokens=40, temperature=0)
    assert turn.data is None
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(turn.text)


@pytest.mark.parametrize("form", [Person, Point])
def test_a_type_gives_an_instance(session: Session, form: type) -> None:
    turn = session.ask("who?", after=None, schema=form, max_tokens=200)
    assert isinstance(turn.data, form)


def test_a_typed_dict_and_a_list_give_plain_data(session: Session) -> None:
    pair = session.ask("which?", after=None, schema=Pair, max_tokens=60).data
    assert set(pair) == {"left", "right"}
    pairs = session.ask("which?", after=None, schema=list[Pair], max_tokens=400, **HOT).data
    assert all(set(each) == {"left", "right"} for each in pairs)


def test_text_and_files_are_schemas(session: Session, tmp_path: Path) -> None:
    text = json.dumps({"enum": ["grün", "blau"]}, ensure_ascii=False)
    file = tmp_path / "colour.json"
    file.write_text(text, "utf-8")
    for given in (text, file, str(file), Sampling(schema=text)):
        how = {"sampling": given} if isinstance(given, Sampling) else {"schema": given}
        turn = session.ask("colour?", after=None, max_tokens=20, **how)
        assert turn.data in ("grün", "blau")


def test_an_object_has_only_the_fields_that_are_listed(session: Session) -> None:
    schema = {"type": "object", "properties": {"a": SMALL}, "required": ["a"]}
    turn = session.ask("a?", after=None, schema=schema, max_tokens=100, **HOT)
    assert set(turn.data) == {"a"}


def test_the_next_question_goes_on_from_the_reply(session: Session) -> None:
    first = session.ask("who?", after=None, schema=Person, max_tokens=200)
    after = session.ask("and then?", max_tokens=4)
    assert after.parent is not None
    assert after.parent.id == first.id
    assert after.usage["restored"]["tokens"] == first.usage["prompt"]["tokens"] + len(first.tokens)
    assert after.usage["exact"]


def test_a_reply_that_was_cut_raises_with_its_text(session: Session) -> None:
    before = session.last
    with pytest.raises(ReplyError, match=r"cut after 5 tokens.*--max-tokens") as caught:
        session.ask("who?", after=None, schema=Person, max_tokens=5)
    assert caught.value.text.startswith('{"')
    assert caught.value.text in str(caught.value)
    assert caught.value.usage is not None
    assert caught.value.usage["generated"]["stop"] == "length"
    assert session.last is before
    # Nor is it stored: the same question is asked anew.
    with pytest.raises(ReplyError):
        session.ask("who?", after=None, schema=Person, max_tokens=5, replay=True)


def test_a_reply_that_a_validator_refuses_raises_with_its_text(session: Session) -> None:
    with pytest.raises(ReplyError, match=r"\$\.yes.*never this one") as caught:
        session.ask("?", after=None, schema=Never, max_tokens=30)
    assert json.loads(caught.value.text)["yes"] in (True, False)


def test_what_the_grammar_cannot_hold_is_told_and_checked(session: Session) -> None:
    schema = {"type": "array", "items": {"const": 1}, "minItems": 2, "maxItems": 2}
    unique = {**schema, "uniqueItems": True}
    heard: list[Event] = []
    with pytest.raises(ReplyError, match="non-unique"):
        session.ask("?", after=None, schema=unique, max_tokens=30, on_event=heard.append)
    told = [event.text for event in heard if isinstance(event, Notice)]
    assert any("uniqueItems" in text for text in told)
    assert session.ask("?", after=None, schema=schema, max_tokens=30).data == [1, 1]


def test_replay_and_the_schema_in_the_digest(session: Session) -> None:
    first = session.ask("who now?", after=None, schema=Person, max_tokens=200)
    again = session.ask("who now?", after=None, schema=Person, max_tokens=200, replay=True)
    assert again.usage["generated"]["stop"] == "replayed"
    assert again.data == first.data
    assert isinstance(again.data, Person)
    other = session.ask("who now?", after=None, schema=Point, max_tokens=200, replay=True)
    assert other.usage["generated"]["stop"] == "end"
    assert other.id != first.id


def test_settings_without_a_schema_have_the_digests_they_had() -> None:
    assert "schema" not in Sampling().document()
    assert Sampling(schema="{}").document()["schema"] == "{}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{not json", "as JSON, and it is none"),
        ({"type": "strin"}, "valid JSON schema"),
        ({"$ref": "#/$defs/missing"}, "missing"),
        ({"type": "string", "pattern": "(a)\\1"}, "backreferences"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "llguidance"),
        ("no_such_file.json", "no_such_file.json"),
        (5, "and got 5"),
        (type(json.dumps), r"has no JSON schema: [^.]*\.$"),
    ],
)
def test_a_schema_nobody_can_keep_is_refused(session: Session, given: Any, message: str) -> None:
    before = session.last
    with pytest.raises(UsageError, match=message):
        session.ask("?", after=None, schema=given, max_tokens=10)
    assert session.last is before


def test_patterns_are_not_those_of_python(session: Session) -> None:
    schema = {"type": "string", "pattern": r"^\p{Lu}{3}$"}
    turn = session.ask("?", after=None, schema=schema, max_tokens=20)
    assert re.fullmatch("[^a-z0-9 ]{3}", turn.data)


def test_a_schema_is_written_in_one_way() -> None:
    assert schema_of(TypeAdapter(Person)) == schema_of(Person)
    assert schema_of(TypeAliasType("Someone", Person)) == schema_of(Person)
    assert schema_of({"type": "integer"}) == schema_of('{ "type" :  "integer" }')
    assert schema_of(Person) != schema_of(Point)


@pytest.mark.parametrize("toy", ["gemma3", "qwen35", "mamba2"], indirect=True)
def test_on_every_kind_of_memory(toy: Toy, open_session: Opens) -> None:
    session = open_session(toy)
    for _ in range(2):
        turn = session.ask("who?", schema=Person, max_tokens=200, **HOT)
        assert isinstance(turn.data, Person)
    assert turn.usage["exact"]
