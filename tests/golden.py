"""What real Ruby Sidekiq left in Redis, one generation at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

VERSIONS: Final = ("6.4.1", "7.3.2", "8.1.7")
DIRECTORY: Final = Path(__file__).parents[1] / "compat_tests" / "golden"


def golden(version: str, name: str) -> dict[str, Any]:
    """The sample of this name, such as `process`. What Rails itself wrote is under `activejob`."""
    sample: dict[str, Any] = json.loads((DIRECTORY / version / f"{name}.json").read_text())
    return sample
