"""The job payload: bytes to job and back, and the fields that need a codec of their own.

A payload is an open mapping. Keys that sidekiq-py doesn't know, and `args`, pass through every stage byte
for byte; who changes a stored job edits only its own fields (`fields`, `rebuild`).
"""

from __future__ import annotations

import base64
import re
import secrets
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any, Final, TypeAlias

import msgspec

from sidekiq_py import ruby_json
from sidekiq_py.errors import InvalidPayload

Payload: TypeAlias = dict[str, Any]
Fields: TypeAlias = dict[str, msgspec.Raw]

MESSAGE_LIMIT: Final = 10_000  # characters of `error_message`, as Sidekiq keeps
BACKTRACE_LIMIT: Final = 1024 * 1024  # bytes: what a stored backtrace may inflate to before we stop reading
MILLISECONDS_FROM: Final = 100_000_000_000  # integers from here on are milliseconds, smaller ones seconds
LATEST: Final = 253_402_300_800.0  # year 10000, seconds: later "times" are damage, not data

_SURROGATES = re.compile("[\ud800-\udfff]")
_decode = msgspec.json.Decoder().decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class UnreadableArguments(list[object]):
    """Stands for `args` that are JSON but hold a number Python refuses; `reason` says which limit."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


def new_jid() -> str:
    """24 lower-case hex digits, from the system's random source."""
    return secrets.token_hex(12)


def generate(job: Mapping[str, object], *, modern_floats: bool = False) -> bytes:
    """The bytes that Ruby would write for this job; key order is kept. See `ruby_json.generate`."""
    return ruby_json.generate(job, modern_floats=modern_floats)


def parse(raw: bytes) -> Payload:
    """The job in these bytes, ready to run: `class` is a string, `args` a list.

    Odd types anywhere else are no reason to refuse a job. Raises InvalidPayload when the bytes are not
    JSON, not UTF-8, not an object, or lack a usable `class` or `args`.
    """
    try:
        job = _decode(raw)
    except msgspec.ValidationError:  # well-formed, with a number that is out of Python's range
        job = _parse_by_field(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(f"not JSON: {error}") from error
    if type(job) is not dict:
        raise InvalidPayload(f"a JSON {_json_type(job)}, expected an object")
    if type(job.get("class")) is not str or not job["class"]:
        raise InvalidPayload("no usable class: expected a non-empty string")
    if type(args := job.setdefault("args", [])) is not list and type(args) is not UnreadableArguments:
        raise InvalidPayload(f"args is a JSON {_json_type(args)}, expected an array")
    return job


def _parse_by_field(raw: bytes) -> object:
    try:
        raw.decode()  # skipped-over text is not checked by the decoder
        fields = _decode_fields(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidPayload(f"not a job: {error}") from error
    job: Payload = {}
    for key, text in fields.items():
        try:
            job[key] = _decode(text)
        except msgspec.ValidationError as error:
            job[key] = UnreadableArguments(str(error)) if key == "args" else None
    return job


def _json_type(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def fields(raw: bytes) -> Fields:
    """The top level of a stored job with every value as the text it was read as, in order.

    Only for bytes that `parse` accepts.
    """
    return _decode_fields(raw)


def put(into: Fields, key: str, value: object) -> None:
    """Set one field; an existing key keeps its place, a new one goes last, as in a Ruby hash."""
    into[key] = msgspec.Raw(ruby_json.generate(value))


def rebuild(edited: Fields) -> bytes:
    """The bytes of a job whose fields were edited; untouched values are written as they were read."""
    return msgspec.json.encode(edited)


def display_class(job: Mapping[str, Any]) -> str:
    """The name that people know the job by: `display_class`, else `wrapped` (ActiveJob), else `class`."""
    return str(job.get("display_class") or job.get("wrapped") or job.get("class"))


def read_timestamp(value: object) -> float | None:
    """Seconds since the epoch, by the value's own JSON type; None when it can't be a time. Never raises.

    Sidekiq 8 writes integer milliseconds, 6 and 7 float seconds, some clients integer seconds, some ISO
    8601 text; text patching in the wild left numbers like 1.76e90.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        return _read_iso(value)
    if not isinstance(value, int | float) or not 0 <= value <= LATEST * 1000:
        return None
    seconds = value / 1000 if isinstance(value, int) and value >= MILLISECONDS_FROM else float(value)
    return seconds if isfinite(seconds) and seconds <= LATEST else None


def _read_iso(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def error_class(error: BaseException) -> str:
    """The exception's name as it goes on the wire: plain for builtins, else with its module.

    Errors with a Ruby counterpart carry its name in `ruby_class`. Web pages print this unescaped, so names
    hold no angle brackets.
    """
    try:
        ruby_class = getattr(error, "ruby_class", None)
    except BaseException:  # an error's own code must not cost the retry, nor the process
        ruby_class = None
    if ruby_class and isinstance(ruby_class, str):
        return scrub(ruby_class)
    kind = type(error)
    name = kind.__qualname__.replace(".<locals>", "").replace("<", "").replace(">", "")
    return name if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{name}"


def error_message(error: BaseException) -> str:
    """The exception's text: at most 10,000 characters, always writable as UTF-8."""
    try:
        text = str(error)[:MESSAGE_LIMIT]
    except BaseException:  # a broken __str__ must not cost the retry
        return "!!! ERROR MESSAGE THREW AN ERROR !!!"
    return scrub(text)


def scrub(text: str) -> str:
    """The text without halves of surrogate pairs, which UTF-8 has no bytes for."""
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def encode_backtrace(lines: Sequence[str]) -> str:
    """Lines as Sidekiq stores them: JSON, deflated, base64 on one line."""
    return base64.b64encode(zlib.compress(ruby_json.generate(list(lines)))).decode()


def decode_backtrace(text: object) -> list[str]:
    """The lines of a stored backtrace; an empty list when it is damaged or inflates past 1 MiB."""
    try:
        inflated = zlib.decompressobj().decompress(base64.b64decode(str(text)), BACKTRACE_LIMIT + 1)
        if len(inflated) > BACKTRACE_LIMIT:
            return []
        return msgspec.json.decode(inflated, type=list[str])
    except (ValueError, zlib.error, msgspec.MsgspecError):
        return []


def write_changes(into: Fields, before: Mapping[str, object], after: Mapping[str, object]) -> None:
    """Bring the raw form of a job up to date with its parsed form: only what changed is written anew."""
    for key in before.keys() - after.keys():
        into.pop(key, None)
    for key, value in after.items():
        if key not in before or before[key] != value or type(before[key]) is not type(value):
            put(into, key, value)
