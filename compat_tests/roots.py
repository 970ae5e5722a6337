"""Builds the three generations of real Sidekiq from Debian's packages, each in a root directory of its own.

`build_all` leaves them in ~/.cache/sidekiq-py/ruby/<6.4|7.3|8.1> (XDG_CACHE_HOME counts). A root is built
aside and renamed when it is whole, under a lock, and built again when its list of packages changes.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compat_tests.mirrors import MIRROR_VARIABLE, debian_mirrors, has_suite, proxies

STAMP = ".sidekiq-py-packages"
BUILD_TIMEOUT = 900.0  # seconds; a build takes about half a minute on a good line
KEYRING = Path("usr/share/keyrings/debian-archive-keyring.gpg")

Say = Callable[[str], None]


class RubyUnavailable(Exception):
    """This machine can't have that Ruby; the message is one line and says how to get it."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One generation of Sidekiq and the Debian suites that package it, the preferred one first."""

    name: str
    suites: tuple[str, ...]
    packages: tuple[str, ...]

    @property
    def stamp(self) -> str:
        return " ".join(("v1", *self.packages)) + "\n"


# Rack 3 (trixie, sid) moved sessions and the `rackup` servers into packages of their own.
_COMMON = ("ruby-sidekiq", "ruby-webrick", "ruby-activejob")
_RACK_3 = (*_COMMON, "ruby-rack-session", "ruby-rackup")
RELEASES: dict[str, Release] = {
    release.name: release
    for release in (
        Release(name="6.4", suites=("bookworm",), packages=_COMMON),
        Release(name="7.3", suites=("trixie",), packages=_RACK_3),
        Release(name="8.1", suites=("sid", "testing"), packages=_RACK_3),
    )
}


def cache_directory() -> Path:
    """Where the roots live, outside the repository: they are large and belong to the machine."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "sidekiq-py" / "ruby"


def is_built(release: Release, cache: Path | None = None) -> bool:
    stamp = (cache or cache_directory()) / release.name / STAMP
    return stamp.is_file() and stamp.read_text() == release.stamp


def build_all(names: Iterable[str], say: Say, cache: Path | None = None) -> dict[str, Path | RubyUnavailable]:
    """Every named release's root, built where it is missing; a RubyUnavailable stands for what can't be.

    Missing ones are built at the same time. What fails then is tried once more with the keys of the older
    Debian releases that have just been built: each signs for the next.
    """
    wanted = [RELEASES[name] for name in names]
    home = cache or cache_directory()
    with ThreadPoolExecutor(max_workers=len(RELEASES)) as pool:
        roots = list(pool.map(lambda release: _attempt(release, home, say), wanted))
    found = dict(zip((release.name for release in wanted), roots, strict=True))
    for name, root in found.items():
        if isinstance(root, RubyUnavailable) and any(is_built(each, home) for each in RELEASES.values()):
            found[name] = _attempt(RELEASES[name], home, say)
    return found


def _attempt(release: Release, cache: Path, say: Say) -> Path | RubyUnavailable:
    try:
        return build(release, cache, say)
    except RubyUnavailable as error:
        return error


def build(release: Release, cache: Path, say: Say) -> Path:
    """The root of one release. Raises RubyUnavailable."""
    root = cache / release.name
    if os.geteuid() != 0:
        raise _unavailable(release, "chroot needs root; run the tests as root, say in a Debian container")
    if is_built(release, cache):
        return root
    if shutil.which("debootstrap") is None:
        raise _unavailable(release, "no debootstrap here; apt-get install debootstrap")
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f".{release.name}.lock", f"another run is building Sidekiq {release.name}", say):
        if not is_built(release, cache):  # the other run may have done it
            _build_aside(release, root, say)
    return root


def _unavailable(release: Release, why: str) -> RubyUnavailable:
    return RubyUnavailable(
        f"no Sidekiq {release.name} for Ruby: {why}; or gem install sidekiq -v '~> {release.name}.0'"
    )


@contextmanager
def _locked(path: Path, busy: str, say: Say) -> Iterator[None]:
    """Hold a lock that dies with its process."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{busy}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_aside(release: Release, root: Path, say: Say) -> None:
    suite, mirror = _find_source(release)
    say(f"building Sidekiq {release.name} for Ruby (Debian {suite}, once on this machine) in {root}")
    started = time.monotonic()
    for left_over in root.parent.glob(f".{release.name}-*"):
        _remove(left_over)
    aside = Path(tempfile.mkdtemp(prefix=f".{release.name}-", dir=root.parent))
    try:
        _debootstrap(release, aside, suite, mirror)
        _furnish(release, aside)
        if root.exists():
            root.rename(root.parent / f".{release.name}-replaced")
        aside.rename(root)
    finally:
        for left_over in root.parent.glob(f".{release.name}-*"):
            _remove(left_over)
    say(f"built Sidekiq {release.name} for Ruby in {time.monotonic() - started:.0f} s")


def _find_source(release: Release) -> tuple[str, str]:
    """The first suite that one of the machine's mirrors holds, and the mirror."""
    problems = []
    for suite, mirror in itertools.product(release.suites, debian_mirrors()):
        try:
            if has_suite(mirror, suite):
                return suite, mirror
            problems.append(f"{mirror} has no Debian {suite}, name a mirror in {MIRROR_VARIABLE}")
        except OSError as error:
            problems.append(f"can't reach {mirror} ({error}), check the network or {MIRROR_VARIABLE}")
    problems.append(f"no Debian mirror in /etc/apt, name one in {MIRROR_VARIABLE}")
    raise _unavailable(release, problems[0])


def _debootstrap(release: Release, root: Path, suite: str, mirror: str) -> None:
    log = root.parent / f"{release.name}.log"
    command = [
        *private_mounts(),
        "debootstrap",
        "--variant=minbase",
        "--force-check-gpg",
        f"--keyring={_keyring(root.parent)}",
        f"--include={','.join(release.packages)}",
        suite,
        str(root),
        mirror,
    ]
    environ = {**os.environ, **{f"{scheme}_proxy": address for scheme, address in proxies().items()}}
    try:
        with log.open("w") as output:
            subprocess.run(
                command, stdout=output, stderr=output, env=environ, check=True, timeout=BUILD_TIMEOUT
            )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise _unavailable(release, f"debootstrap failed ({_complaint(log)}), see {log}") from error


def _complaint(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    return next((line for line in lines if line.startswith("E: ")), lines[-1]).removeprefix("E: ")


def private_mounts() -> list[str]:
    """What to put before a command that mounts, so that its mounts end with it; nothing where not allowed."""
    prefix = ["unshare", "--mount"]
    return (
        prefix if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0 else []
    )


def _keyring(cache: Path) -> Path:
    """The newest Debian keys that are trusted here: the machine's, or those of a release built with them.

    An older machine doesn't know the keys of newer releases, but packages that its keys vouch for do.
    """
    keyrings = [Path("/") / KEYRING, *(cache / name / KEYRING for name in RELEASES)]
    present = [keyring for keyring in keyrings if keyring.is_file()]
    if not present:
        raise RubyUnavailable("no Debian keys here; apt-get install debian-archive-keyring")
    return max(present, key=lambda keyring: keyring.stat().st_mtime)


def _furnish(release: Release, root: Path) -> None:
    """What a command in the root expects; the stamp comes last."""
    root.chmod(0o755)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
    (root / STAMP).write_text(release.stamp)


def _remove(directory: Path) -> None:
    """Delete a root, but never what is still mounted in it."""
    subprocess.run(["rm", "-rf", "--one-file-system", str(directory)], check=False, capture_output=True)
