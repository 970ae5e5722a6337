"""The Lua scripts that make a step atomic: one file each, loaded once."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Arg = str | bytes | int | float


@dataclass(frozen=True)
class Script:
    """One Lua script and the name Redis knows it by: the SHA-1 of its text."""

    name: str
    text: str = field(repr=False)
    sha: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Redis' own name for a script, no secret: usedforsecurity=False keeps FIPS builds content.
        sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", sha)

    def command(self, keys: Sequence[str], args: Sequence[Arg] = ()) -> tuple[Arg, ...]:
        """The EVALSHA command, for a slot of a pipeline. A NOSCRIPT answer is the caller's to repeat."""
        return ("EVALSHA", self.sha, len(keys), *keys, *args)

    def full_command(self, keys: Sequence[str], args: Sequence[Arg] = ()) -> tuple[Arg, ...]:
        """The EVAL command: carries the text, and Redis remembers it from then on."""
        return ("EVAL", self.text, len(keys), *keys, *args)


@functools.cache
def load(name: str) -> Script:
    """The script in `scripts/<name>.lua`, read once per process."""
    text = resources.files(__name__).joinpath(f"{name}.lua").read_text("utf-8")
    return Script(name, text)
