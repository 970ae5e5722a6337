"""The Lua scripts that make a step atomic: one file each, loaded once."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

Arg: TypeAlias = str | bytes | int | float


class ScriptCall(tuple[Arg, ...]):
    """A command that names its script by digest, and can be put in full for a server that doesn't know it."""

    text: str

    def in_full(self) -> tuple[Arg, ...]:
        """The same call as EVAL. The server remembers the script from then on."""
        return ("EVAL", self.text, *self[2:])


@dataclass(frozen=True)
class Script:
    """One Lua script, and the name Redis knows it by: the SHA-1 of its text."""

    name: str
    text: str = field(repr=False)
    sha: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Redis' own name for a script, no secret: usedforsecurity=False keeps FIPS builds content.
        sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", sha)

    def command(self, keys: Sequence[str], args: Sequence[Arg] = ()) -> ScriptCall:
        """This script on these keys and arguments, for a slot of a pipeline."""
        call = ScriptCall(("EVALSHA", self.sha, len(keys), *keys, *args))
        call.text = self.text
        return call


@functools.cache
def load(name: str) -> Script:
    """The script in `scripts/<name>.lua`, read once per process, with `must_be_allowed` if it calls that."""
    text = _read(name)
    return Script(name, _read("must_be_allowed") + text if "must_be_allowed(" in text else text)


def _read(name: str) -> str:
    return Path(__file__).with_name(f"{name}.lua").read_text("utf-8")
