"""Describes the event types for people: for ``callcenter-ws events``, and for the manual."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import msgspec

from callcenter_ws.events.catalogue import AgentState, CallPayload, EventType, Payload, Slot
from callcenter_ws.events.methods import EventMethods

OF_GATEWAY = {
    "agent.stats": "the figures of an agent, which the gateway derives; a message without ``id`` and ``seq``",
    "tenant.stats": "the figures of the tenant, which the gateway derives; a message without ``id`` and ``seq``",
    "presence.changed": "a user came online or went offline; published by the gateway",
    "queue.alert.raised": "a rule of alerts is broken, or still is after its ``repeat``; published by the gateway",
    "queue.alert.acknowledged": "a supervisor has taken notice of an alert; published by the gateway",
    "queue.alert.cleared": "an alert is over; published by the gateway",
    "command.done": "a command was carried out, or it was already so; published by the gateway",
    "command.failed": "a command was not carried out, or that is not known; published by the gateway",
    "command.executed": "a command has ended: who issued it, for what, and its outcome; published by the gateway",
    "statistics.settings.changed": "the settings of the statistics from here on; published by the gateway",
}
"""The types that no method of a daemon publishes, with their meanings."""

Mark = Callable[[str], str]
"""Marks a name or a value as such: in the manual with back quotes."""

_MEANING = re.compile(r"(?P<meaning>.+): ``(?P<event>[a-z.]+)``\.")


def methods() -> dict[str, tuple[str, str]]:
    """Return the methods of EventMethods: event type to the method's name and the event's meaning.

    They are read from the docstrings, which an interpreter with the option -OO does not keep.
    """
    found = {}
    for name, method in inspect.getmembers(EventMethods, inspect.isfunction):
        match = _MEANING.search(inspect.getdoc(method) or "")
        if match and not name.startswith("_"):
            meaning = re.sub(r"^Publish (that )?", "", match["meaning"])
            found[match["event"]] = (name, re.sub(r"^Notify ", "Notifies ", meaning))
    return found


def meanings() -> dict[str, str]:
    """Return what each event type means: a sentence that begins with a capital letter, without a full stop."""
    texts = {**{name: text for name, (_, text) in methods().items()}, **OF_GATEWAY}
    return {name: f"{text[0].upper()}{text[1:]}" for name, text in texts.items()}


def own_fields(declared: EventType, mark: Mark) -> Iterator[tuple[str, bool, str]]:
    """Yield the fields of a type but those that all calls share: name, whether it is required, and its value.

    A shared field that this type requires is among them.
    """
    shared: set[tuple[str, bool]] = set()
    if issubclass(declared.payload, CallPayload):
        shared = {(field.name, field.required) for field in msgspec.structs.fields(CallPayload)}
    return (field for field in fields(declared.figure or declared.payload, mark) if field[:2] not in shared)


def fields(payload: type[Payload], mark: Mark) -> Iterator[tuple[str, bool, str]]:
    """Yield the fields of a payload: name, whether it is required, and its value."""
    info: Any = msgspec.inspect.type_info(payload)  # Any: the type depends on what is inspected.
    for field in info.fields:
        yield field.encode_name, field.required, _value(field.type, mark)


def slot_text(slot: Slot, mark: Mark = str) -> str:
    """Return what an event does to the snapshot."""
    entity = ", ".join(" or ".join(mark(field) for field in names) for names in slot.entity)
    emphasis = '"' if mark is str else "*"
    return f"{_effect(slot, emphasis)} (by {entity})"


def _effect(slot: Slot, emphasis: str) -> str:
    if slot.appends:
        return f"among the last messages of its {slot.kind}"
    if slot.while_true is not None:
        return f"kept while the user is {slot.keeps}"
    if slot.keeps is not None:
        return f"kept as the last {emphasis}{slot.keeps}{emphasis} of its {slot.kind}"
    if slot.drops == "*":
        return f"removes the {slot.kind}"
    return f"removes the {emphasis}{slot.drops}{emphasis} of its {slot.kind}"


def _value(type_: Any, mark: Mark) -> str:  # Any: msgspec has a class for each kind of type
    match type_:
        case msgspec.inspect.UnionType(types=types):
            found = dict.fromkeys(_value(one, mark) for one in types if not isinstance(one, msgspec.inspect.NoneType))
            found = {"id": None} if set(found) == {"text", "whole number"} else found
            return "number" if set(found) == {"whole number", "number"} else " or ".join(found)
        case msgspec.inspect.LiteralType(values=values):
            # In the order of the declaration; msgspec sorts the values.
            order: Any = get_args(AgentState) if set(values) == set(get_args(AgentState)) else values  # of a Literal
            return ", ".join(mark(str(value)) for value in order)
        case msgspec.inspect.ListType(item_type=item):
            return f"list of {_value(item, mark)}"
        case msgspec.inspect.IntType(ge=0):
            return "whole number, 0 or more"
    return _NAMES[type(type_)]


_NAMES: Mapping[Any, str] = {  # the classes of msgspec.inspect have no common base
    msgspec.inspect.StrType: "text",
    msgspec.inspect.IntType: "whole number",
    msgspec.inspect.FloatType: "number",
    msgspec.inspect.BoolType: "true or false",
    msgspec.inspect.DateTimeType: "instant",
    msgspec.inspect.DictType: "object",
    msgspec.inspect.AnyType: "any JSON",
}
