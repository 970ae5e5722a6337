"""What a config file says, whatever its syntax: options, sections by environment, keys that aren't ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sidekiq_py.config_options import BY_NAME, Given
from sidekiq_py.did_you_mean import closest
from sidekiq_py.errors import InvalidConfig

# Keys that shops have in the file for Ruby's side. They are named once at boot and change nothing here.
RUBY_ONLY: Final = {
    "scheduler": "sidekiq-scheduler",
    "schedule": "sidekiq-scheduler",
    "enabled": "sidekiq-scheduler",
    "dynamic": "sidekiq-scheduler or sidekiq-limit_fetch",
    "dynamic_every": "sidekiq-scheduler",
    "listened_queues_only": "sidekiq-scheduler",
    "rufus_scheduler_options": "sidekiq-scheduler",
    "cron": "sidekiq-cron",
    "cron_poll_interval": "sidekiq-cron",
    "cron_schedule_file": "sidekiq-cron",
    "cron_history_size": "sidekiq-cron",
    "cron_default_namespace": "sidekiq-cron",
    "limits": "sidekiq-limit_fetch",
    "process_limits": "sidekiq-limit_fetch",
    "blocking": "sidekiq-limit_fetch",
    "throttled": "sidekiq-throttled",
    "reliable_fetch": "Sidekiq Pro; sidekiq-py always fetches reliably",
    "super_fetch": "Sidekiq Pro; sidekiq-py always fetches reliably",
    "reliable_scheduler": "Sidekiq Pro",
    "reliable_push": "Sidekiq Pro",
    "fetch": "Sidekiq Pro",
    "index": "Sidekiq Pro",
    "periodic": "Sidekiq Enterprise",
    "health_check": "Sidekiq Enterprise",
    "environment": "give it with -e or APP_ENV",
    "max_iteration_runtime": "Sidekiq",
    "on_complex_arguments": "Sidekiq; sidekiq-py refuses arguments that JSON would change",
    "redis_idle_timeout": "Sidekiq",
    "thread_priority": "Sidekiq",
    "profile": "Sidekiq",
    "strict": "older Sidekiq; queues without weights are strict",
    "daemon": "older Sidekiq",
    "logfile": "older Sidekiq",
    "pidfile": "older Sidekiq",
    "namespace": "redis-namespace, which Sidekiq 7 dropped; sidekiq-py reads keys without a prefix",
}
IGNORE_KEYS: Final = "ignore_keys"
FILE_KEYS: Final = (*(option.name for option in BY_NAME.values() if option.in_files), IGNORE_KEYS)
ENVIRONMENTS: Final = frozenset(
    {"development", "test", "staging", "production", "ci", "qa", "uat", "sandbox"}
)
HOLDERS: Final = ("x-", ".", "_")  # such keys hold anchors for others to point at


class Lines(dict[str, Any]):
    """A mapping from a file that knows the line of each of its keys."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """A file's options at the top and in the section of the environment, and what to say about the rest."""

    path: str
    top: dict[str, Given] = field(default_factory=dict)
    section: dict[str, Given] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing here: a pyproject.toml may be there for other reasons."""
        return not (self.top or self.section or self.notices)


def read_mapping(mapping: Mapping[str, Any], path: str, environment: str) -> FileOptions:
    """Sort a file's top level. Raises InvalidConfig for a key that nobody knows, also in other sections."""
    return _Reading(path, mapping).options(environment)


class _Reading:
    def __init__(self, path: str, mapping: Mapping[str, Any]) -> None:
        self._path = path
        self._mapping = mapping
        self._ignore = {*RUBY_ONLY, *_names(mapping.get(IGNORE_KEYS))}
        self._ignored: dict[str, None] = {}

    def options(self, environment: str) -> FileOptions:
        top: dict[str, Given] = {}
        section: dict[str, Given] = {}
        for key, value in self._mapping.items():
            if key in FILE_KEYS or key in self._ignore:
                self._take(top, self._mapping, key)
            elif self._is_section(key, value):
                given = self._section(value or {})
                section = given if key == environment else section
            elif not key.startswith(HOLDERS):
                raise self._unknown(self._mapping, key)
        return FileOptions(path=self._path, top=top, section=section, notices=self._notices())

    def _section(self, mapping: Mapping[str, Any]) -> dict[str, Given]:
        found: dict[str, Given] = {}
        for key in mapping:
            if key not in FILE_KEYS and key not in self._ignore:
                raise self._unknown(mapping, key)
            self._take(found, mapping, key)
        return found

    def _is_section(self, key: str, value: object) -> bool:
        """An environment's name can be any word; its keys give it away, or nothing like it is known."""
        if isinstance(value, Mapping):
            return not value or any(name in FILE_KEYS or name in self._ignore for name in value)
        return value is None and (key in ENVIRONMENTS or closest(key, FILE_KEYS) is None)

    def _take(self, into: dict[str, Given], mapping: Mapping[str, Any], key: str) -> None:
        if key not in FILE_KEYS:
            self._ignored[key] = None
        elif key != IGNORE_KEYS and mapping[key] is not None:
            into[key] = Given(mapping[key], self._place(mapping, key))

    def _place(self, mapping: Mapping[str, Any], key: str) -> str:
        line = mapping.lines.get(key) if isinstance(mapping, Lines) else None
        return f"{self._path}:{line}" if line else f"{self._path} {key}"

    def _unknown(self, mapping: Mapping[str, Any], key: str) -> InvalidConfig:
        match = closest(key, FILE_KEYS)
        hint = f"did you mean {match!r}?" if match else f"known keys are {', '.join(sorted(FILE_KEYS))}."
        return InvalidConfig(
            f"{self._place(mapping, key)}: unknown key {key!r}; {hint} "
            f"If it is for a Ruby gem, add to the file: ignore_keys: [{key}]"
        )

    def _notices(self) -> list[str]:
        if not self._ignored:
            return []
        names = ", ".join(f"{key} ({RUBY_ONLY[key]})" if key in RUBY_ONLY else key for key in self._ignored)
        return [f"{self._path}: keys that only Ruby uses are ignored: {names}"]


def _names(given: object) -> list[str]:
    return [str(each) for each in given] if isinstance(given, list) else [str(given)] if given else []
