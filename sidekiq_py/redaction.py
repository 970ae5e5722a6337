"""What of a job's arguments may be shown to people: in logs, pages and JSON.

Values under telling keys become `[FILTERED]` at any depth; the last argument of a job with `encrypt` is
`[encrypted data]`, as Sidekiq's pages show it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from typing import Any, Final, TypeAlias

from sidekiq_py.payload import Payload

FILTERED: Final = "[FILTERED]"
ENCRYPTED: Final = "[encrypted data]"
DEFAULT_PATTERNS: Final = (
    "*passw*",
    "*secret*",
    "*token*",
    "*api_key*",
    "*apikey*",
    "*private_key*",
    "*credential*",
    "*authorization*",
    "*cookie*",
    "*card_number*",
    "cvc",
    "cvv",
    "iban",
    "otp",
    "pin",
    "ssn",
)

ArgsCallable: TypeAlias = Callable[[Payload, list[Any]], list[Any]]


class ArgsFilter:
    """Gives a job's arguments as they may be shown. The job itself is left as it is.

    `patterns` are globs that a whole key must match, whatever its case: `password`, `*token*`. `custom`
    gets (job, filtered arguments) and returns what to show; if it fails, nothing is shown.
    """

    def __init__(
        self, patterns: Iterable[str] = DEFAULT_PATTERNS, custom: ArgsCallable | None = None
    ) -> None:
        self._telling = re.compile("|".join(translate(each.lower()) for each in patterns) or r"(?!)")
        self._custom = custom

    def __call__(self, job: Payload) -> list[Any]:
        """The arguments to show."""
        shown: list[Any] = [self._clean(each) for each in job.get("args") or ()]
        if job.get("encrypt") and shown:
            shown[-1] = ENCRYPTED
        return shown if self._custom is None else self._ask(self._custom, job, shown)

    def _ask(self, custom: ArgsCallable, job: Payload, shown: list[Any]) -> list[Any]:
        try:
            return custom(job, shown)
        except Exception:  # the application's code; showing less is the one safe answer
            return [FILTERED] * len(shown)

    def _clean(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._clean_pair(key, each) for key, each in value.items()}
        return [self._clean(each) for each in value] if isinstance(value, list) else value

    def _clean_pair(self, key: object, value: Any) -> Any:
        return FILTERED if self._telling.match(str(key).lower()) else self._clean(value)
