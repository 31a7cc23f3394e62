#!/usr/bin/env python3
"""Make the clients' types of the contract: clients/python/src/reverie/types.py of openapi.yaml.

Every schema becomes a TypedDict, a Literal or a union, so what a client sends and gets is typed as the contract says,
without code at run time. TypeScript's types are made by openapi-typescript (see scripts/contract-test). `--check` writes
nothing and fails where the file is not what the contract says.
"""

from __future__ import annotations

import keyword
import sys
import textwrap
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "clients/python/src/reverie/types.py"
HEAD = '''"""What is sent and what comes back, as openapi.yaml says. Made by clients/generate.py: do not edit."""

from __future__ import annotations

from typing import Literal, Required, TypedDict, Union
'''
PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None", "object": "dict[str, object]"}
# Bodies of forms and streams, which the client makes and reads by itself.
LEFT_OUT = {"SubmitForm", "ImageFile", "JobEvent"}


def annotation(schema: dict) -> str:
    """The Python type of a schema that has no name of its own."""
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[1]
    if "const" in schema:
        return f"Literal[{schema['const']!r}]"
    if "enum" in schema:
        return f"Literal[{', '.join(map(repr, schema['enum']))}]"
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return " | ".join(dict.fromkeys(map(annotation, schema[choice])))
    if "allOf" in schema and len(schema["allOf"]) == 1:
        return annotation(schema["allOf"][0])
    kinds = schema.get("type", "object")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return " | ".join(plain(kind, schema) for kind in kinds)


def plain(kind: str, schema: dict) -> str:
    if kind == "array":
        return f"list[{annotation(schema.get('items', {}))}]"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"dict[str, {annotation(schema['additionalProperties'])}]"
    return PLAIN[kind]


def sentence(text: str, indent: str) -> list[str]:
    """A description as comment lines."""
    words = " ".join(text.split())
    return textwrap.wrap(words, 110 - len(indent), initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def definition(name: str, schema: dict) -> list[str]:
    """The lines that define a schema."""
    properties = schema.get("properties")
    if not properties:
        # Quoted as a whole: it may name what is defined below.
        return [*sentence(schema.get("description", ""), ""), f"{name} = {alias(schema)}"]
    required = set(schema.get("required", ()))
    fields = []
    for field, of in sorted(properties.items()):
        kind = annotation(of)
        fields.append((field, f"Required[{kind}]" if field in required else kind, of.get("description", "")))
    if any(keyword.iskeyword(field) for field, _, _ in fields):
        # A member such as `class` cannot be written in a class's body.
        members = ", ".join(f"{field!r}: {kind!r}" for field, kind, _ in fields)
        return [*sentence(schema.get("description", ""), ""), f"{name} = TypedDict({name!r}, {{{members}}}, total=False)"]
    lines = [f"class {name}(TypedDict, total=False):"]
    text = " ".join(schema.get("description", "").split())
    if text:
        wrapped = textwrap.wrap(text, 106)
        lines += [f'    """{wrapped[0]}', *[f"    {line}" for line in wrapped[1:]]]
        lines[-1] += '"""' if len(wrapped) == 1 else ""
        lines += [] if len(wrapped) == 1 else ['    """']
        lines.append("")
    for field, kind, description in fields:
        lines += [*sentence(description, "    "), f"    {field}: {kind}"]
    return lines


def alias(schema: dict) -> str:
    """A type that is no class; names are quoted because they may be defined below."""
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return f"Union[{', '.join(repr(annotation(one)) for one in schema[choice])}]"
    return annotation(schema)


def generated() -> str:
    schemas = yaml.safe_load((ROOT / "openapi.yaml").read_text(encoding="utf-8"))["components"]["schemas"]
    parts = [HEAD]
    for name, schema in sorted(schemas.items()):
        if name not in LEFT_OUT:
            parts.append("\n".join(definition(name, schema)) + "\n")
    return "\n\n".join(part.rstrip("\n") + "\n" for part in parts)


def main() -> int:
    text = generated()
    if sys.argv[1:] == ["--check"]:
        if TARGET.read_text(encoding="utf-8") != text:
            print(f"{TARGET.relative_to(ROOT)} is not what openapi.yaml says: run clients/generate.py", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
