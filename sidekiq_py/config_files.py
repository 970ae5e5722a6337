"""Which files hold the configuration, and reading each by its syntax."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sidekiq_py.config_options import Given
from sidekiq_py.errors import InvalidConfig
from sidekiq_py.file_options import FileOptions, read_mapping

YAML_FILES: Final = ("config/sidekiq.yml", "config/sidekiq.yml.erb")
TOML_FILES: Final = ("sidekiq.toml", "pyproject.toml")


def find_files(named: Given | None, require: Given | None) -> list[Path]:
    """The files that count, first one strongest: the one named, else Sidekiq's own; then TOML files.

    They are looked for in the directory given with -r, else here. Raises InvalidConfig when the one named
    isn't there.
    """
    directory = Path(str(require.value)) if require and Path(str(require.value)).is_dir() else Path()
    found = [directory / name for name in YAML_FILES if (directory / name).is_file()][:1]
    if named is not None:
        found = [Path(str(named.value))]
        if not found[0].is_file():
            raise InvalidConfig(f"{named.origin}: there is no file {named.value}")
    return found + [directory / name for name in TOML_FILES if (directory / name).is_file()]


def load_file(path: Path, environment: str, environ: Mapping[str, str]) -> FileOptions:
    """What one file says. Raises InvalidConfig, which names file and, in YAML, line."""
    if path.suffix == ".toml":
        return _load_toml(path, environment)
    from sidekiq_py import sidekiq_yml  # only who has such a file pays for the YAML parser

    return sidekiq_yml.load(path, environment, environ)


def _load_toml(path: Path, environment: str) -> FileOptions:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"{path} can't be read as TOML: {error}") from None
    if path.name == "pyproject.toml":
        table = table.get("tool", {}).get("sidekiq", {})
    if not isinstance(table, Mapping):
        raise InvalidConfig(f"{path}: [tool.sidekiq] must be a table")
    return read_mapping(table, str(path), environment)
