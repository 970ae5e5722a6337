"""The public API as mypy and pyright see it, both at their strictest."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLIC_API = Path(__file__).parent / "public_api.py"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


def need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{package} is not installed: pip install {package}")
        pytest.skip(f"{package} is not installed")


def test_mypy_strict_understands_the_public_api() -> None:
    need("mypy")

    done = run(sys.executable, "-m", "mypy", "--strict", str(PUBLIC_API))

    assert done.returncode == 0, done.stdout + done.stderr


def test_pyright_strict_understands_the_public_api() -> None:
    need("pyright")

    done = run(
        *(sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable),
        *("--project", str(PUBLIC_API.parent)),
    )

    report = json.loads(done.stdout)
    assert report["generalDiagnostics"] == []
    assert report["summary"]["filesAnalyzed"] == 1
