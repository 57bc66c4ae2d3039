"""Generates the files of the browser client that are made from the code: ``python clients/js/generate.py [--write]``.

Without an option the command lists the files that differ from the code, and exits with status 1 if there are any; with
``--write`` it updates them. ``tests/clients`` runs the same check.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent.parent))

from callcenter_ws.errors import CLOSES  # noqa: E402 - the line above
from callcenter_ws.events.catalogue import CATALOGUE  # noqa: E402
from callcenter_ws.events.message_schemas import message_schemas  # noqa: E402
from callcenter_ws.events.slot_table import slot_table  # noqa: E402

FIRST_FINAL = 4500
"""From this close code on, clients do not reconnect."""

HEADER = "// Generated from the gateway's code by clients/js/generate.py. Do not edit.\n"


def main() -> int:
    """Run the command; return its exit status."""
    differing = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
    if "--write" not in sys.argv[1:]:
        for path in differing:
            print(f"differs: {path.relative_to(HERE)}")
        return 1 if differing else 0
    for path in differing:
        path.parent.mkdir(exist_ok=True)
        path.write_text(generated()[path])
    return 0


def generated() -> dict[Path, str]:
    """Return the text of each generated file."""
    return {
        HERE / "src/slots.js": slots(),
        HERE / "src/closes.js": closes(),
        HERE / "types/events.d.ts": event_types(),
    }


def slots() -> str:
    """Return the table of slots; types with the same effect share one entry, for the size of the bundle."""
    table = slot_table()
    names: dict[str, list[str]] = {}
    for name, effect in table["types"].items():
        names.setdefault(json.dumps(effect), []).append(name)
    effects = "".join(f'  ["{" ".join(types)}", {effect}],\n' for effect, types in names.items())
    return (
        f"{HEADER}\n"
        "/**\n"
        " * The effect of an event on the state; see `GET /schemas/slots`.\n"
        " * @typedef {{kind: string, entity: string[][], keeps?: string, drops?: string, appends?: boolean,\n"
        " *   while_true?: string, lasting?: boolean}} Effect\n"
        " */\n\n"
        "/** @type {[string, Effect][]} */\n"
        f"export const EFFECTS = [\n{effects}];\n\n"
        "/** @type {{[type: string]: string[]}} */\n"
        f"export const FIGURES = {json.dumps(table['figures'])};\n\n"
        f"export const LIFETIME_MS = {int(table['entity_lifetime_seconds'] * 1000)};\n"
        f"export const MAX_SLOTS = {table['max_slots']};\n"
        f"export const MAX_LASTING = {table['max_lasting']};\n"
    )


def closes() -> str:
    """Return the names of the close codes. Their texts are in the close frames, so that the bundle needs none.

    Raises:
        ValueError: whether to reconnect does not follow from the code alone.
    """
    for code in CLOSES:
        if code.reconnect is not (code < FIRST_FINAL):
            raise ValueError(f"close code {int(code)}: clients reconnect after the codes below {FIRST_FINAL}")
    names = ",\n".join(f'  {int(code)}: "{entry.name}"' for code, entry in CLOSES.items())
    return (
        f"{HEADER}\n"
        "/** From this close code on, clients do not reconnect. */\n"
        f"export const FIRST_FINAL_CLOSE = {FIRST_FINAL};\n\n"
        "/** The names of the close codes. @type {Readonly<{[code: number]: string}>} */\n"
        f"export const CLOSE_NAMES = {{\n{names},\n}};\n"
    )


def event_types() -> str:
    """Return the types of the messages of all events, from the schemas that the gateway serves."""
    interfaces: dict[str, str] = {}
    payloads: dict[str, str] = {}
    for name, schema in message_schemas().items():
        definitions: dict[str, Any] = schema["$defs"]
        payloads[name] = type_of(schema["properties"]["payload"])
        interfaces |= {defined: interface(defined, definition) for defined, definition in definitions.items()}
    events = "".join(f'  "{name}": {payload};\n' for name, payload in payloads.items())
    figures = " | ".join(f'"{name}"' for name, declared in CATALOGUE.items() if declared.figure)
    return f"{HEADER}\n{''.join(interfaces.values())}export interface Events {{\n{events}}}\n{MESSAGES}".replace(
        "FIGURES", figures
    )


MESSAGES = """
/** Types whose live figures, in tenants with statistics, have neither `id` nor `seq`. */
export type FigureType = FIGURES;

export type Message<T extends keyof Events = keyof Events> = {
  [K in T]: {
    type: K;
    tenant_id: string;
    timestamp: string;
    user_id?: string;
    offline?: true;
    redelivered?: true;
    payload: Events[K];
  } & (K extends FigureType ? { id?: string; seq?: number } : { id: string; seq: number });
}[T];

/** What `on("event", …)` tells. Messages for the user have `acknowledge`, if the page acknowledges them itself. */
export type EventMessage<T extends keyof Events = keyof Events> = Message<T> & {
  id: string;
  seq: number;
  acknowledge?: () => void;
};
"""


def interface(name: str, schema: dict[str, Any]) -> str:
    """Return the declaration of an object; unknown fields are allowed, as senders may add them."""
    required = schema.get("required", [])
    fields = "".join(
        f"  {field}: {type_of(value)};\n" if field in required else f"  {field}?: {type_of(value)};\n"
        for field, value in schema["properties"].items()
    )
    return f"export interface {name} {{\n{fields}  [name: string]: unknown;\n}}\n\n"


def type_of(schema: dict[str, Any]) -> str:
    """Return the type of the values of a JSON Schema.

    Raises:
        KeyError: the schema has a form that the catalogue did not use before.
    """
    if not schema.keys() - {"default"}:
        return "unknown"
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(type_of(alternative) for alternative in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if schema["type"] == "array":
        return f"({type_of(schema['items'])})[]"
    return _TYPES[schema["type"]]


_TYPES = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
    "object": "{ [name: string]: unknown }",
}


if __name__ == "__main__":
    sys.exit(main())
