"""The rules a job must keep before anything may be pushed, in the client and in `@job` options.

Ruby twin: Sidekiq::JobUtil. Every refusal says what was given, what is allowed and how to fix it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from math import isfinite
from types import UnionType
from typing import Any, Final, SupportsFloat

from sidekiq_py.did_you_mean import closest
from sidekiq_py.errors import InvalidJob
from sidekiq_py.payload import Payload, new_jid
from sidekiq_py.user_code import shown

DEFAULT_OPTIONS: Final[Mapping[str, Any]] = {"retry": True, "queue": "default"}
RETRY_FOR_LIMIT: Final = 1_000_000_000  # seconds, 31 years; larger ones are a moment mistaken for a duration
_PER_PUSH: Final = frozenset({"class", "args", "jid", "at", "wait", "wait_until"})
KNOWN_OPTIONS: Final = frozenset(
    {"queue", "retry", "backtrace", "tags", "dead", "retry_for", "retry_queue", "log_level", "timeout"}
)
MISSPELT: Final = 0.8  # likeness from which on a key was meant to be an option
_OTHERS_WORDS: Final[Mapping[str, str]] = {  # what other Python queues call an option: it would mean nothing
    "max_retries": "retry",
    "retries": "retry",
    "queue_name": "queue",
    "time_limit": "timeout",
    "soft_time_limit": "timeout",
}
_KINDS: Final[Mapping[str, tuple[type | UnionType, str]]] = {
    "retry": (bool | int, "True, False or a number of retries"),
    "backtrace": (bool | int, "True, False or how many lines to keep"),
    "dead": (bool, "True or False"),
}
MAX_DEPTH: Final = 95  # levels inside one argument; Ruby's JSON stops at 100 for the whole payload

_SCALARS: Final = frozenset({str, int, bool, type(None)})  # any value of these is JSON as it stands
_HINTS: Final[Mapping[str, str]] = {
    "bytes": "give text, for example base64",
    "datetime": "give isoformat() or timestamp()",
    "date": "give isoformat()",
    "time": "give isoformat()",
    "timedelta": "give total_seconds()",
    "Decimal": "give str(value)",
    "UUID": "give str(value)",
    "tuple": "give a list",
    "set": "give a sorted list",
    "frozenset": "give a sorted list",
}


def validate(item: object) -> Mapping[str, Any]:
    """The item, once it is known to be a job description that Ruby would take too. Raises InvalidJob."""
    if not isinstance(item, Mapping):
        raise InvalidJob(f"a job is a dict with 'class' and 'args', got {described(item)}")
    for key in ("class", "args"):
        if key not in item:
            raise InvalidJob(f"a job needs 'class' and 'args', {key!r} is missing in {shown(dict(item))}")
    if not isinstance(item["class"], str) or not item["class"]:
        raise InvalidJob(f"'class' is the job class name, as in 'HardJob', got {described(item['class'])}")
    if not isinstance(item["args"], list | tuple):
        raise InvalidJob(f"'args' is the list of arguments, as in ['bob', 5], got {described(item['args'])}")
    if item.get("jid") is not None and not (isinstance(item["jid"], str) and item["jid"]):
        raise InvalidJob(f"'jid' is a string, got {described(item['jid'])}; leave it out to get a new one")
    check_options(item)
    return item


def normalize(item: Mapping[str, Any], created_at: float) -> Payload:
    """A payload with everything a server needs, keys in Ruby's order; the item is left as it was."""
    job: Payload = {**DEFAULT_OPTIONS, **item}
    job["args"] = list(job["args"])
    if job.get("retry_for") is not None:
        job["retry_for"] = normalize_retry_for(job["retry_for"])
    if job.get("jid") is None:
        job["jid"] = new_jid()
    if job.get("created_at") is None:
        job["created_at"] = created_at
    return job


def check_time(at: object) -> None:
    """Raises InvalidJob unless `at` is a finite number of epoch seconds."""
    if isinstance(at, bool) or not isinstance(at, int | float) or not is_finite(at):
        raise InvalidJob(f"'at' is a number of seconds since 1970, got {described(at)}; try at.timestamp()")


def is_finite(number: SupportsFloat) -> bool:
    """Whether a float can hold it, which integers may be too large for."""
    try:
        return isfinite(number)
    except OverflowError:
        return False


def declared_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options written in code (`@job`, `set`), checked more strictly than a pushed item's, in their order.

    Tuples become lists and a timedelta in `retry_for` seconds. Raises InvalidJob.
    """
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
    for key in options.keys() & _PER_PUSH:
        raise InvalidJob(
            f"{key!r} belongs to one push, it is no option of a job; see perform_in and Client.push"
        )
    for key in options.keys() - KNOWN_OPTIONS:
        if (meant := _meant(key)) is not None:
            raise InvalidJob(f"{key!r} is no option of a job; did you mean {meant!r}?")
    for key, (kinds, words) in _KINDS.items():
        if options.get(key) is not None and not isinstance(options[key], kinds):
            raise InvalidJob(f"{key!r} is {words}, got {described(options[key])}")
    check_options(options)
    if options.get("retry_for") is not None:
        options["retry_for"] = normalize_retry_for(options["retry_for"])
    verify_json(options)
    return options


@lru_cache(maxsize=256)  # `set` may carry the same keys with every push
def _meant(key: str) -> str | None:
    """The option that an unknown key looks like; None for one of an application's or a gem's own."""
    near = key if key in _OTHERS_WORDS else closest(key, [*KNOWN_OPTIONS, "retries"], likeness=MISSPELT)
    return None if near is None else _OTHERS_WORDS.get(near, near)


def check_options(options: Mapping[str, Any]) -> None:
    """Raises InvalidJob for an option that Ruby would refuse or that its Web UI would break on."""
    if "at" in options:
        check_time(options["at"])
    if "queue" in options:
        _check_queue(options["queue"], "queue")
    if options.get("retry_queue") is not None:
        _check_queue(options["retry_queue"], "retry_queue")
    if options.get("tags"):
        _check_tags(options["tags"])
    if options.get("retry_for") is not None:
        normalize_retry_for(options["retry_for"])


def _check_queue(queue: object, option: str) -> None:
    if not isinstance(queue, str) or not queue:
        raise InvalidJob(f"{option!r} is a queue's name, as in 'default', got {described(queue)}")
    if queue.startswith("queue:"):
        raise InvalidJob(f"{option!r} is the bare name, without 'queue:' in front, got {queue!r}")


def _check_tags(tags: object) -> None:
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise InvalidJob(f"'tags' is a list of strings, as in ['urgent'], got {described(tags)}")


def normalize_retry_for(retry_for: object) -> int:
    """`retry_for` in whole seconds, as Ruby stores it; takes a timedelta too. Raises InvalidJob."""
    seconds = retry_for.total_seconds() if isinstance(retry_for, timedelta) else retry_for
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not is_finite(seconds):
        raise InvalidJob(f"'retry_for' is a number of seconds, got {described(retry_for)}")
    if seconds > RETRY_FOR_LIMIT:
        raise InvalidJob(
            f"'retry_for' is how long to retry, in seconds, at most {RETRY_FOR_LIMIT:,}; {seconds!r} looks "
            "like a moment in time"
        )
    return int(seconds)


def verify_json(job: Payload) -> None:
    """Raises InvalidJob, with the path of the odd one, unless every value is JSON that Ruby reads alike."""
    for key, value in job.items():
        if type(key) is not str:
            raise InvalidJob(f"a job's keys are strings, got {described(key)}")
        if key == "args":
            verify_args(value, key)
        elif type(value) not in _SCALARS:
            _verify(value, key, 1)


def verify_args(args: Sequence[object], path: str) -> None:
    """The same for one job's arguments; `path` is what the message calls them."""
    for index, value in enumerate(args):
        _verify(value, f"{path}[{index}]", 1)


def are_scalars(values: Iterable[object]) -> bool:
    """Whether all are strings, integers, booleans or None: the quick way through most arguments."""
    return _SCALARS.issuperset(map(type, values))


def _verify(value: object, path: str, depth: int) -> None:
    kind = type(value)
    if kind in _SCALARS:
        return
    if depth > MAX_DEPTH:
        raise InvalidJob(f"{path[:60]}… is nested more than {MAX_DEPTH} deep (does it contain itself?)")
    if kind is list:
        _verify_list(value, path, depth)  # type: ignore[arg-type]
    elif kind is dict:
        _verify_dict(value, path, depth)  # type: ignore[arg-type]
    elif kind is not float:
        raise InvalidJob(_refusal(value, path))
    elif not isfinite(value):  # type: ignore[arg-type]
        raise InvalidJob(f"{path} is {value!r}, which JSON has no word for; give None or a string")


def _verify_list(values: list[object], path: str, depth: int) -> None:
    if not are_scalars(values):
        for index, value in enumerate(values):
            _verify(value, f"{path}[{index}]", depth + 1)


def _verify_dict(values: dict[object, object], path: str, depth: int) -> None:
    for key, value in values.items():
        if type(key) is not str:
            raise InvalidJob(f"{path} has the key {described(key)}; JSON's keys are strings, try str(key)")
        if type(value) not in _SCALARS:
            _verify(value, f"{path}[{_quoted(key)}]", depth + 1)


def surrogate_path(value: object, path: str) -> str | None:
    """Where the text sits that UTF-8 can't hold (half of a surrogate pair), or None. A job's path is ""."""
    if isinstance(value, str):
        return path if any("\ud800" <= character <= "\udfff" for character in value) else None
    pairs: Any = ()
    if isinstance(value, list):
        pairs = ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, dict):
        if found := next((key for key in value if surrogate_path(key, "key")), None):
            return f"the key {found!r} of {path}"
        pairs = ((f"[{_quoted(key)}]" if path else key, item) for key, item in value.items())
    return next((found for step, item in pairs if (found := surrogate_path(item, path + step))), None)


def _refusal(value: object, path: str) -> str:
    hint = _HINTS.get(type(value).__name__, "give plain data and look the rest up in the job")
    return (
        f"{path} is {described(value)}; a job's arguments are JSON: str, int, float, bool, None, list and "
        f"dict with string keys. {hint[:1].upper()}{hint[1:]}"
    )


def described(value: object) -> str:
    """The value for a message: its type and, cut short, itself."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}: {shown(value)}"


def _quoted(key: object) -> str:
    return '"' + str(key).replace('"', '\\"') + '"'
