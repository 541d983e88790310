"""Fifty JSON schemas, each of another kind: what people ask of a reply's form."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

WORD: Schema = {"type": "string", "maxLength": 12}
SMALL: Schema = {"type": "integer", "minimum": 0, "maximum": 99}


def _object(**properties: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Any, least: int = 0, most: int = 3) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


SCHEMAS: dict[str, Schema] = {
    # values
    "string": WORD,
    "string of a length": {"type": "string", "minLength": 3, "maxLength": 5},
    "empty string": {"type": "string", "maxLength": 0},
    "integer": {"type": "integer"},
    "integer in a range": {"type": "integer", "minimum": -5, "maximum": 120},
    "integer above": {"type": "integer", "exclusiveMinimum": 1000, "maximum": 99999},
    "number": {"type": "number"},
    "number in a range": {"type": "number", "minimum": 0, "maximum": 1},
    "number between": {"type": "number", "exclusiveMinimum": -1.5, "exclusiveMaximum": 2.25},
    "multiple": {"type": "integer", "minimum": 0, "maximum": 1000, "multipleOf": 25},
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "constant": {"const": "the one"},
    "constant object": {"const": {"a": [1, 2, None], "b": "ü"}},
    "two types": {"type": ["integer", "null"]},
    # enumerations
    "enum": {"enum": ["red", "green", "blue"]},
    "enum of all kinds": {"enum": ["a", 1, 2.5, None, True]},
    "enum in Unicode": {"enum": ["größer", "東京", "🙂", "naïve", "\u0000tab\t"]},
    "enum with quotes": {"enum": ['say "hi"', "back\\slash", "line\nend"]},
    # patterns and formats
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
    "pattern inside": {"type": "string", "pattern": "^a?b+c{2}$", "maxLength": 9},
    "pattern in Unicode": {"type": "string", "pattern": "^[äöü]{1,4}$"},
    "date": {"type": "string", "format": "date"},
    "date and time": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "email": _object(mail={"type": "string", "format": "email", "maxLength": 40}),
    # arrays
    "array": _list(SMALL),
    "array of a length": _list({"enum": ["x", "y"]}, 4, 4),
    "array of arrays": _list(_list(SMALL, 2, 2), 1, 3),
    "tuple": {
        "type": "array",
        "prefixItems": [WORD, SMALL, {"type": "boolean"}],
        "items": False,
        "minItems": 3,
    },
    "empty array": _list(SMALL, 0, 0),
    "array of objects": _list(_object(name=WORD, age=SMALL), 1, 3),
    # objects
    "object": _object(name=WORD, age=SMALL),
    "optional fields": {
        "type": "object",
        "properties": {"a": SMALL, "b": WORD, "c": {"type": "boolean"}},
        "required": ["b"],
    },
    "only optional fields": {"type": "object", "properties": {"a": SMALL, "b": SMALL}},
    "no fields": {"type": "object", "properties": {}, "additionalProperties": False},
    "closed object": {**_object(a=SMALL), "additionalProperties": False},
    "map": {
        "type": "object",
        "properties": {"key": SMALL},
        "patternProperties": {"^x[0-9]$": WORD},
        "additionalProperties": False,
    },
    "Unicode names": _object(**{"größe": SMALL, "名前": WORD, 'a"b': SMALL, "🙂": WORD}),
    "nested": _object(a=_object(b=_object(c=_object(d=SMALL)))),
    "many fields": _object(**{f"field_{index}": SMALL for index in range(30)}),
    # choices and references
    "any of": {"anyOf": [SMALL, {"enum": ["none"]}, _object(x=SMALL)]},
    "one of": {
        "oneOf": [
            _object(kind={"const": "circle"}, radius=SMALL),
            _object(kind={"const": "box"}, width=SMALL, height=SMALL),
        ]
    },
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": SMALL}, "required": ["a"]},
            {"type": "object", "properties": {"b": WORD}, "required": ["b"]},
        ],
        "maxProperties": 2,
    },
    "reference": {
        "$defs": {"point": _object(x=SMALL, y=SMALL)},
        **_object(start={"$ref": "#/$defs/point"}, end={"$ref": "#/$defs/point"}),
    },
    "definitions, older": {
        "definitions": {"tag": {"enum": ["a", "b"]}},
        **_object(tags=_list({"$ref": "#/definitions/tag"}, 1, 3)),
    },
    "recursion": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": SMALL,
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
                "required": ["value", "next"],
            }
        },
        "$ref": "#/$defs/node",
    },
    # as people have them
    "invoice": _object(
        number={"type": "string", "pattern": "^INV-[0-9]{3,6}$"},
        date={"type": "string", "format": "date"},
        customer=_object(name=WORD, city={"enum": ["Köln", "Łódź", "São Paulo"]}),
        lines=_list(
            _object(
                item=WORD,
                quantity={"type": "integer", "minimum": 1, "maximum": 20},
                price={"type": "number", "minimum": 0, "maximum": 500, "multipleOf": 0.25},
            ),
            1,
            3,
        ),
        paid={"type": "boolean"},
        note={"anyOf": [WORD, {"type": "null"}]},
    ),
    "chart": _object(
        title=WORD,
        unit={"enum": ["%", "€", "m²"]},
        bars=_list(_object(label=WORD, value={"type": "number"}), 2, 4),
    ),
    "annotated": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.org/answer",
        "title": "Answer",
        "description": "With everything that says nothing about the form.",
        **_object(
            answer={**WORD, "title": "Answer", "description": "short", "examples": ["yes"]},
            confidence={"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
        ),
    },
}
