"""How a Ruby with one generation of Sidekiq is run: in a root of ours, or as the machine's own gem."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from compat_tests.roots import private_mounts

FIXTURES = Path(__file__).parent.parent / "ruby_fixtures"

# Sidekiq reads /proc/<pid>/status at each beat. Where a mount is allowed it is private to the process, so
# nothing has to be cleaned up; elsewhere the process gets a copy of its own status to read.
_WITH_PROC = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
_WITHOUT_PROC = 'mkdir -p "$0/proc/$$" && cp "/proc/$$/status" "$0/proc/$$/" && exec chroot "$0" "$@"'


class Interpreter(Protocol):
    """Runs commands that see the fixtures in their working directory. The child's pid is Ruby's own."""

    home: Path  # that directory, as this process sees it

    def command(self, *arguments: str) -> list[str]:
        """What to hand to subprocess.Popen."""
        ...

    def write(self, name: str, text: str) -> str:
        """Put a file beside the fixtures; returns its path as the command sees it."""
        ...

    def environment(self) -> dict[str, str]: ...

    def close(self) -> None:
        """Remove what this interpreter wrote."""
        ...


@dataclass
class Root:
    """A Debian root directory; the fixtures are copied in, one copy per test session."""

    path: Path
    home: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="fixtures-", dir=self.path / "srv"))
        shutil.copytree(FIXTURES, self.home, dirs_exist_ok=True)

    def command(self, *arguments: str) -> list[str]:
        inside = Path("/") / self.home.relative_to(self.path)
        return [*self._enter, str(self.path), "env", f"--chdir={inside}", *arguments]

    @cached_property
    def _enter(self) -> list[str]:
        mounts = private_mounts()
        return [*mounts, "sh", "-c", _WITH_PROC if mounts else _WITHOUT_PROC]

    def write(self, name: str, text: str) -> str:
        (self.home / name).write_text(text)
        return name

    def environment(self) -> dict[str, str]:
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8"}

    def close(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        for copied in (self.path / "proc").iterdir():
            if not (Path("/proc") / copied.name).exists():
                shutil.rmtree(copied, ignore_errors=True)


@dataclass
class LocalGem:
    """The machine's own Ruby, where the right generation of the gem is installed."""

    gem_version: str
    home: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="sidekiq-py-fixtures-"))
        shutil.copytree(FIXTURES, self.home, dirs_exist_ok=True)

    @classmethod
    def find(cls, release: str) -> LocalGem | None:
        """The newest installed gem of that generation, such as 8.1.7 for "8.1"."""
        try:
            listed = subprocess.run(
                ["gem", "list", "--local", "--exact", "sidekiq"], capture_output=True, text=True, check=True
            ).stdout
        except (OSError, subprocess.CalledProcessError):
            return None
        found = re.search(rf"\b{re.escape(release)}\.\d+\b", listed)
        return cls(found[0]) if found else None

    def command(self, *arguments: str) -> list[str]:
        # A gem's command takes the version to run as its first argument.
        chosen = [f"_{self.gem_version}_"] if arguments[0] in ("sidekiq", "sidekiqmon") else []
        return ["env", f"--chdir={self.home}", arguments[0], *chosen, *arguments[1:]]

    def write(self, name: str, text: str) -> str:
        (self.home / name).write_text(text)
        return name

    def environment(self) -> dict[str, str]:
        return {"PATH": _own_path(), "LANG": "C.UTF-8", "SIDEKIQ_GEM": self.gem_version}

    def close(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)


def _own_path() -> str:
    ruby = shutil.which("ruby")
    return f"{Path(ruby).parent}:/usr/local/bin:/usr/bin:/bin" if ruby else "/usr/local/bin:/usr/bin:/bin"


def output_of(interpreter: Interpreter, arguments: Sequence[str], **environ: str) -> str:
    """What a short command printed. CalledProcessError when it failed."""
    return subprocess.run(
        interpreter.command(*arguments),
        env={**interpreter.environment(), **environ},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
