"""docker-compose.yml and the Dockerfiles, as far as they can be checked without Docker."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sidekiq_py.cli import server
from tests.documents import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
BUILDS = {name: ROOT / service["build"] for name, service in SERVICES.items() if "build" in service}


def test_the_file_follows_the_compose_specification():
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]

    done = subprocess.run(
        [*check, str(ROOT / "docker-compose.yml")], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_that_does_not_follow_it_is_noticed(tmp_path: Path):
    broken = tmp_path / "docker-compose.yml"
    broken.write_text("services: {redis: {imgae: redis}}")
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(broken)]

    assert subprocess.run(check, capture_output=True, check=False).returncode == 1


def test_who_is_depended_on_is_there_and_healthy_is_defined():
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[name]


@pytest.mark.parametrize("name", BUILDS)
def test_every_image_is_built_from_files_that_exist(name: str):
    directory = BUILDS[name]

    for line in re.findall(r"^COPY (.*) \S+$", (directory / "Dockerfile").read_text(), re.MULTILINE):
        for pattern in line.split():
            assert list(directory.glob(pattern)), pattern


def test_every_mounted_file_exists():
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", ())]

    assert mounts
    assert all((ROOT / mount.split(":")[0]).is_file() for mount in mounts)


def test_a_container_gets_longer_to_stop_than_its_jobs():
    for name in ("sidekiq-py", "sidekiq"):
        command = SERVICES[name]["command"]
        timeout = float(command[command.index("-t") + 1])

        assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > timeout + 10


def test_the_command_of_our_server_is_understood():
    program, *arguments = SERVICES["sidekiq-py"]["command"]

    assert program == "sidekiq-py"
    assert server.make_context(program, arguments).params["require"] == "handlers.py"
