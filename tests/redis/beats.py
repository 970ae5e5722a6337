"""Processes that beat, as far as Redis can tell."""

from __future__ import annotations

import json
from collections.abc import Mapping

import redis as redis_py

from tests.golden import golden


def beat(
    raw: redis_py.Redis, identity: str, fields: Mapping[str, object] | None = None, **info: object
) -> None:
    """One beat: `fields` are those of the hash beside `info`."""
    raw.sadd("processes", identity)
    raw.hset(identity, mapping={"info": json.dumps(info), **(fields or {})})


def beat_as_ruby(raw: redis_py.Redis, version: str) -> str:
    """The very beat of a Ruby process with two busy threads; returns its identity."""
    process, work = golden(version, "process"), golden(version, "work")
    raw.sadd("processes", process["key"])
    raw.hset(process["key"], mapping=process["hash"])
    raw.hset(work["key"], mapping=work["hash"])
    return str(process["key"])
