"""Where this machine gets Debian packages from, as its own apt configuration says."""

from __future__ import annotations

import os
import re
import subprocess
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

MIRROR_VARIABLE = "SIDEKIQ_PY_DEBIAN_MIRROR"  # for machines whose apt configuration names none
APT = Path("/etc/apt")
PROBE_TIMEOUT = 20.0  # seconds


def debian_mirrors(apt: Path = APT) -> list[str]:
    """Base addresses that may hold Debian, the likeliest first; empty when apt names none.

    Third parties offer "main" components too: ask `has_suite` before believing one.
    """
    chosen = os.environ.get(MIRROR_VARIABLE)
    found = [chosen] if chosen else list(_expanded(_main_entries(apt)))
    addresses = dict.fromkeys(address.rstrip("/") for address in found)
    return sorted(addresses, key=lambda address: not address.endswith("/debian"))


def has_suite(mirror: str, suite: str) -> bool:
    """Whether the mirror answers and really holds that suite of Debian. OSError when it can't be reached."""
    request = urllib.request.Request(f"{mirror}/dists/{suite}/InRelease")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies() or None))
    try:
        with opener.open(request, timeout=PROBE_TIMEOUT) as answer:
            return "Origin: Debian\n" in answer.read(2048).decode("utf-8", "replace")
    except urllib.error.HTTPError:
        return False


def proxies() -> dict[str, str]:
    """Proxies that only apt knows of: scheme to address. Empty when there are none."""
    try:
        told = subprocess.run(
            ["apt-config", "shell", "http", "Acquire::http::Proxy", "https", "Acquire::https::Proxy"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    pairs = re.findall(r"^(https?)='(.+)'$", told, re.MULTILINE)
    return {scheme: address for scheme, address in pairs if address != "DIRECT"}


def _main_entries(apt: Path) -> Iterator[str]:
    """Addresses of all entries with the component main; security archives hold only part of a suite."""
    for file in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if not file.is_file():
            continue
        text = file.read_text(errors="replace")
        entries = _stanzas(text) if file.suffix == ".sources" else _lines(text)
        yield from (
            address
            for address, suites, components in entries
            if "main" in components and not all("security" in suite for suite in suites)
        )


def _lines(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Entries of the one-line form: deb [options] address suite component…"""
    for line in text.splitlines():
        entry = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)", line.strip())
        if entry:
            yield entry[1], [entry[2]], entry[3].split("#")[0].split()


def _stanzas(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Entries of the deb822 form."""
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if not line.startswith("#")]
        fields = {name.lower(): value.split() for name, value in _fields(lines)}
        if "deb" in fields.get("types", []) and fields.get("enabled") != ["no"]:
            for address in fields.get("uris", []):
                yield address, fields.get("suites", []), fields.get("components", [])


def _fields(lines: list[str]) -> Iterator[tuple[str, str]]:
    unfolded = re.sub(r"\n[ \t]+", " ", "\n".join(lines))
    for line in unfolded.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip(), value


def _expanded(addresses: Iterable[str]) -> Iterator[str]:
    """Web addresses only; a mirror list of apt's (`mirror+file:/…`) stands for what it lists."""
    for address in addresses:
        if address.startswith("mirror+file:"):
            listed = Path(address.removeprefix("mirror+file:").replace("//", "/"))
            lines = listed.read_text().split("\n") if listed.is_file() else []
            yield from (line.split()[0] for line in lines if line.startswith("http"))
        elif address.startswith(("http://", "https://")):
            yield address
