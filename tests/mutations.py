"""Inputs changed at random: bytes flipped and cut, lines moved, values replaced by nasty ones. Each is known by its seed."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

NASTY_TEXTS = [
    "", " ", "\0", "\x1b[2J", "../../etc/passwd", "=1+1", "<script>", "|", "`", "a" * 5000, "\u202e", "\ud800", "nan", "-inf", "1e400",
    "null", "true", "!!python/object:os.system", "*a", "&a", "<<", "{", "[", "- ", ": ", "#", "%", "@", "🦀", "0x", "1_000", "10%",
    "epochs", "3 epochs", "-1 steps", "1e99 epochs", "torch.optim.SGD", "os.system", "nowhere.py:X", "accuracy", "\n", "\r\n", "\t",
]  # fmt: skip
NASTY_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 10**400, -(10**400), 0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, [], {}, [[]], [None],
    {"": None}, {"a": {"b": {}}}, [1, "a", None], *NASTY_TEXTS,
]  # fmt: skip


_DEEP = {"@deep60@": 60, "@deep5000@": 5000}  # written out only as text: Python itself can't walk such lists


def changed_bytes(content: bytes, chance: random.Random) -> bytes:
    """Some bytes or lines of `content` changed, removed, doubled or moved."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 3, 8])):
        at = chance.randrange(len(data) + 1)
        until = min(len(data), at + chance.choice([1, 1, 2, 5, 20, 200]))
        kind = chance.randrange(8)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at:until]
        elif kind == 2:
            data[at:at] = data[at:until]
        elif kind == 3:
            data[at:until] = chance.choice(NASTY_TEXTS).encode("utf-8", "surrogatepass")
        elif kind == 4:
            data[at:at] = chance.choice(b"\0\xff\x80{}[]:,-\"'#&*!|>%@`\n\t ").to_bytes(1, "little")
        elif kind == 5:
            del data[at:]
        else:
            lines = bytes(data).split(b"\n")
            one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
            if kind == 6:
                lines[one], lines[other] = lines[other], lines[one]
            else:
                lines.insert(one, lines[other])
            data = bytearray(b"\n".join(lines))
    return bytes(data)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything inside."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += places(item, (*path, index))
    return found


def changed_value(value: Any, chance: random.Random) -> Any:
    """Some parts of nested dicts and lists replaced by nasty ones, removed, renamed or moved."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        known = places(value)
        if not known:
            return nasty_value(chance)
        path = chance.choice(known)
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        kind = chance.choice([0, 0, 1, 1, 2, 2, 4, 4, 4, 3 if chance.random() < 0.1 else 4])
        if kind == 0:
            del holder[path[-1]]
        elif kind == 1 and isinstance(holder, dict):
            holder[chance.choice(NASTY_TEXTS)] = holder.pop(path[-1])
        elif kind == 2:
            other = value
            for key in chance.choice(known)[:-1]:
                other = other[key]
            holder[path[-1]] = copy.deepcopy(other)
        elif kind == 3:
            holder[path[-1]] = chance.choice(sorted(_DEEP))
        else:
            holder[path[-1]] = nasty_value(chance)
    return value


def nasty_value(chance: random.Random) -> Any:
    """One of its own: what is put inside it later belongs to this input alone, and never leads back to itself."""
    return copy.deepcopy(chance.choice(NASTY_VALUES))


def as_json(value: Any) -> bytes:
    text = json.dumps(value)
    for token, depth in _DEEP.items():
        text = text.replace(f'"{token}"', "[" * depth + "1" + "]" * depth)
    return text.encode()
