"""Records of a trial's file, one line of JSON each, and the checks when they are read."""

from __future__ import annotations

import json
import math
import reprlib
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import structs

from optbench.errors import OptbenchError, Problem
from optbench.events import Event, Record, Started

T = TypeVar("T")

#: Version of what is on disk. A reader refuses what is newer than itself.
FORMAT = 1

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_BEYOND = 1 << 64
_RECORDS = {cls.__name__.lower(): cls for cls in get_args(Record)}
#: fields that may contain the name of a non-finite number
_NUMERIC = {
    cls: tuple(
        field.name
        for field in structs.fields(cls)
        if field.type is not str and field.name not in ("environment", "status", "at_fault")
    )
    for cls in _RECORDS.values()
}
_DECODER: msgspec.json.Decoder[list[Record]] = msgspec.json.Decoder(list[Record])


class Corrupt(ValueError):
    """A line that is not a record; the message states why."""

    line = 0


class NewerFormat(OptbenchError):
    """Written by a newer optbench than this one."""


def to_line(content: dict[str, Any], indent: int | None = None) -> str:
    """Return JSON on one line, with its newline. Non-finite numbers become "nan", "inf", "-inf"."""
    return json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, indent=indent) + "\n"


def event_line(event: Event) -> str:
    return to_line({"record": event.kind, **structs.asdict(event)})


def from_json(text: bytes | str) -> Any:
    """Return the value of a JSON text. Raises `Corrupt` (a ValueError) if it is invalid or nested too deeply.

    Half of a surrogate pair, which is no valid text, becomes U+FFFD. The standard library reads it, msgspec does not.
    """
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError, msgspec.DecodeError):
        pass
    try:
        return _valid_text(json.loads(text))
    except RecursionError:
        raise Corrupt("nested too deeply") from None
    except ValueError:
        raise Corrupt("not a line of JSON") from None


def _valid_text(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_valid_text(item) for item in value]
    if isinstance(value, dict):
        return {_valid_text(key): _valid_text(item) for key, item in value.items()}
    return value


def to_events(lines: list[bytes]) -> list[Record]:
    """Return the events of lines, all decoded at once. Raises `Corrupt`, with the `line` counted from 0."""
    text = b",".join(lines)
    try:
        events = _DECODER.decode(b"[" + text + b"]")
    except (ValueError, RecursionError, msgspec.DecodeError):
        events = []
    if len(events) != len(lines):  # some line is damaged or contains what only the standard library reads
        events = []
        for number, line in enumerate(lines):
            try:
                events.append(to_event(from_json(line)))
            except Corrupt as error:
                error.line = number
                raise
        return events
    has_non_finite = b'nan"' in text or b'inf"' in text
    return [_checked(event) if has_non_finite or isinstance(event, Started) else event for event in events]


def to_event(content: Any) -> Record:
    """Return the event of a parsed line. Unknown fields are ignored. Raises `Corrupt`."""
    kind = content.get("record") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in _RECORDS:
        raise Corrupt(f"expected one of the records {', '.join(_RECORDS)}")
    try:
        return _checked(msgspec.convert(content, Record))
    except msgspec.ValidationError as error:
        message, _, place = str(error).replace("`", "'").partition(" - at '$")
        field = place.strip(".'").partition("[")[0]
        reason = f"{message[0].lower()}{message[1:]}" + (f" in '{field}'" if field else "")
        if field in content:
            reason += f"; found {reprlib.repr(content[field])}"
        raise Corrupt(f"'{content['record']}' record: {reason}") from None


def _checked(event: Record) -> Record:
    """Return the event with the names of non-finite numbers converted. Raises `Corrupt` for a huge integer in a `Started`."""
    names = _NUMERIC[type(event)]
    if isinstance(event, Started):
        fitting(event.environment)
        fitting(event.hyperparameters)
    return structs.replace(event, **{name: _restored(getattr(event, name)) for name in names})


def check_format(content: dict[str, Any], file: str) -> None:
    """Check the format. Raises `NewerFormat` for a newer one, `Corrupt` for anything else than a format number."""
    found = content.get("format")
    if type(found) is not int or found < 1:
        raise Corrupt("expected a 'format' number: this was not written by optbench")
    if found > FORMAT:
        raise NewerFormat(
            Problem(
                f"written by a newer optbench (format {found}; this one reads up to {FORMAT}): upgrade with "
                f"'pip install --upgrade optbench', or use another --results folder",
                file=file,
                line=1,
            )
        )


def fitting(value: T) -> T:
    """Return the value. Raises `Corrupt` if it contains an integer of more than 64 bits, which no float can represent."""
    _check_fits(value)
    return value


def _check_fits(value: Any) -> None:
    if type(value) is int:
        if not -_BEYOND < value < _BEYOND:
            raise Corrupt("an integer of more than 64 bits")
    elif type(value) is dict:
        for item in value.values():
            _check_fits(item)
    elif type(value) is list:
        for item in value:
            _check_fits(item)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return (
            value if math.isfinite(value) else "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
        )
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, str):
        return _NON_FINITE.get(value, value)
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    return value
