"""Which JSON schemas can be followed: those that become a regular expression that matches only texts of the schema.

Input: a schema's text. Output: nothing, or a ValueError. `outlines-core` ignores keywords that it does not know, so without
this check texts could break the schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_SHAPES = ("properties", "allOf", "anyOf", "oneOf", "prefixItems", "enum", "const", "$ref")
"""A schema has one of these. The library reads only the first."""
_FOLLOWED = {
    *(*_SHAPES, "type", "required", "additionalProperties", "items", "minItems", "maxItems"),
    *("minLength", "maxLength", "pattern", "format", "$defs", "definitions"),
}
_NOTES = {
    *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"),
    *("$schema", "$id", "$comment", "$anchor"),
}


def check_schema(text: str) -> None:
    """Raises ValueError unless every text that matches the schema's expression is a text of the schema."""
    schema = json.loads(text)
    for where, each in _schemas(schema, "the schema"):
        if problem := _problem(each):
            raise ValueError(f"json_schema is invalid: {where} {problem}")


def _problem(schema: Any) -> str:
    """Why one schema cannot be followed; "" if it can."""
    if not isinstance(schema, Mapping):
        return f"is {schema!r:.40}: expected an object. Give a schema with a type."
    if unknown := sorted(schema.keys() - _FOLLOWED - _NOTES):
        return f"has {', '.join(unknown)}, which is not supported. Leave it out, or give regex=…"
    shapes = [name for name in _SHAPES if name in schema]
    if not shapes and "type" not in schema:
        return f"has no type. Give a type, or one of {', '.join(_SHAPES)}."
    if len(shapes) > 1:
        return f"has {' and '.join(shapes)}: expected one of them. Leave out the others."
    if len(schema.get("allOf", [None])) != 1:
        return "has several schemas in allOf: expected one. Put their properties into one schema."
    if "pattern" in schema and schema.keys() & {"minLength", "maxLength", "format"}:
        return "has a pattern with a length or a format: expected one of them. Put the length into the pattern."
    if "format" in schema and schema.keys() & {"minLength", "maxLength"}:
        return "has a format and a length: expected one of them. Leave one out."
    if missing := sorted(set(schema.get("required", [])) - set(schema.get("properties", {}))):
        return f"requires {', '.join(missing)}, which is not in its properties. Add it to the properties."
    return ""


def _schemas(schema: Any, where: str) -> Iterator[tuple[str, Any]]:
    """The schema and all schemas inside it, each with the path to it."""
    yield where, schema
    if not isinstance(schema, Mapping):
        return
    for name in ("properties", "$defs", "definitions"):
        for key, each in _items(schema.get(name)):
            yield from _schemas(each, f"{where}'s {name}.{key}")
    for name in ("allOf", "anyOf", "oneOf", "prefixItems"):
        for each in schema.get(name, []):
            yield from _schemas(each, f"{where}'s {name}")
    if "items" in schema:
        yield from _schemas(schema["items"], f"{where}'s items")
    if not isinstance(schema.get("additionalProperties", True), bool):
        yield from _schemas(schema["additionalProperties"], f"{where}'s additionalProperties")


def _items(named: Any) -> list[tuple[str, Any]]:
    return list(named.items()) if isinstance(named, Mapping) else []
