"""What `sidekiq-py config` prints: each option's value and where it comes from."""

from __future__ import annotations

import json
from typing import Any, Final

from sidekiq_py.capsule import DEFAULT_QUEUE
from sidekiq_py.config import Config
from sidekiq_py.config_options import OPTIONS, Option

WIDEST: Final = 40  # characters of a column before it pushes the next one away


def as_table(config: Config) -> str:
    """One line an option: key, value, origin; then what is worth a notice. No password is shown."""
    rows = [
        (option.name, _written(option, value), _origin(config, option)) for option, value in _values(config)
    ]
    widths = [min(WIDEST, max(len(row[column]) for row in rows)) for column in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for name, value, origin in rows]
    lines += [f"notice: {notice}" for notice in config.notices]
    lines.append(f"files read: {', '.join(config.files) or 'none'}")
    return "\n".join(lines)


def as_json(config: Config) -> str:
    """The same as one JSON object: key → {value, origin}."""
    found = {
        option.name: {"value": value, "origin": _origin(config, option)} for option, value in _values(config)
    }
    return json.dumps(
        {"options": found, "files": config.files, "notices": config.notices}, indent=2, ensure_ascii=False
    )


def _values(config: Config) -> list[tuple[Option, Any]]:
    special = {
        "queues": config.default_capsule.weights,
        "capsules": {
            name: {"queues": capsule.weights, "concurrency": capsule.concurrency, "mode": capsule.mode}
            for name, capsule in config.capsules.items()
            if name != DEFAULT_QUEUE  # that one is the options queues and concurrency
        },
        "redis_url": config.redis.masked_url,
    }
    options = [option for option in OPTIONS if option.name != "config"]
    return [
        (option, special[option.name] if option.name in special else getattr(config, option.name))
        for option in options
    ]


def _origin(config: Config, option: Option) -> str:
    return config.origins.get(option.name, "default")


def _written(option: Option, value: Any) -> str:
    """As it could be given, else as JSON; what isn't set in the words of the help."""
    if value is None:
        return option.default
    if option.name == "queues":
        return " ".join(f"{name},{weight}" if weight else name for name, weight in value.items())
    if isinstance(value, list):
        return " ".join(value)
    if isinstance(value, float):
        return f"{value:.15g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
