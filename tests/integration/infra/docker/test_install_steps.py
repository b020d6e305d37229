"""The install steps of the Dockerfiles, run as they stand, and services started from the result.

There may be no Docker here: the steps of the stage `build` run in a folder that stands for the root
of the image, with the Python of the tests. `IMAGE_TESTS=all` installs the models' image, too, which
is large; set, `TORCH_INDEX` is asked for torch, else only what pip's configuration knows.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from dockerfile_parse import DockerfileParser

from infra.local.ports import choose_port
from infra.local.state import CHECKOUT

pytestmark = pytest.mark.integration

FOLDER = CHECKOUT / "infra" / "docker"
READY_WITHIN_S = 180
IN_THE_IMAGE = re.compile(r"(?<![\w/.])(?=/(?:opt/mmesid|src)\b)")


@dataclass(frozen=True)
class Image:
    """root: the folder that stands for the root of the image."""

    root: Path

    @property
    def environment(self) -> Path:
        return self.root / "opt" / "mmesid"

    def run(self, *command: str) -> str:
        return subprocess.run(
            [self.environment / "bin" / command[0], *command[1:]],
            check=True,
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"]},
            cwd=self.root,
        ).stdout

    def megabytes(self) -> float:
        used = subprocess.run(
            ["du", "--summarize", "--block-size=1", self.environment],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        return int(used.split()[0]) / 1e6

    @contextmanager
    def serving(self, module: str, settings: dict[str, str]) -> Iterator[httpx.Client]:
        port = choose_port()
        environment = {
            "PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.root),
            "PYTHONSAFEPATH": "1",
            "MMESID_SERVER__PORT": str(port),
            **settings,
        }
        with (self.root / "log").open("w") as log:
            process = subprocess.Popen(
                ["python", "-m", module],
                env=environment,
                cwd=self.root,
                stdout=log,
                stderr=log,
                executable=self.environment / "bin" / "python",
            )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                deadline = time.monotonic() + READY_WITHIN_S
                while not is_ready(client):
                    assert process.poll() is None, (self.root / "log").read_text()
                    assert time.monotonic() < deadline, (self.root / "log").read_text()
                    time.sleep(0.1)
                yield client
        finally:
            process.terminate()
            process.wait(30)


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").is_success
    except httpx.TransportError:
        return False


def built(dockerfile: str, root: Path) -> Image:
    """Run the instructions of the stage `build`."""
    variables = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(root),
        **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
    }
    stage = ""
    folder = root
    parser = DockerfileParser(path=str(FOLDER / dockerfile))
    for step in parser.structure:
        instruction, value = step["instruction"], step["value"]
        if instruction == "FROM":
            stage = value.rpartition(" AS ")[2]
        elif stage != "build" or instruction == "COMMENT":
            continue
        elif instruction == "ENV":
            variables.update(pair.split("=", 1) for pair in value.split())
        elif instruction == "ARG":
            name, _, default = value.partition("=")
            # The tests' pip knows where a build for the CPU is, or the caller says so.
            variables[name] = os.environ.get(name, "") if name == "TORCH_INDEX" else default
        elif instruction == "WORKDIR":
            folder = root / value.lstrip("/")
            folder.mkdir(parents=True)
        elif instruction == "COPY":
            copy(value.split(), folder)
        elif instruction == "RUN":
            command = IN_THE_IMAGE.sub(str(root), value)
            subprocess.run(["sh", "-ec", command], cwd=folder, env=variables, check=True)
        else:
            pytest.fail(f"{dockerfile}: {instruction} is not known to this test")
    return Image(root)


def copy(arguments: list[str], folder: Path) -> None:
    *sources, target = arguments
    for source in sources:
        path = CHECKOUT / source
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(path, folder / target, ignore=ignored)
        else:
            shutil.copy(path, folder / target)


def budget(image: str) -> float:
    """Of the packages of an image, in MB, by the table of docs/compose.md."""
    text = (CHECKOUT / "docs" / "compose.md").read_text()
    (row,) = re.findall(rf"^\| `{image}` \|.*\| ([\d,]+) MB \|$", text, re.MULTILINE)
    return float(row.replace(",", ""))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory) -> Image:
    return built("gateway.Dockerfile", tmp_path_factory.mktemp("gateway-image"))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Image:
    if os.environ.get("IMAGE_TESTS") != "all":
        pytest.skip("large: IMAGE_TESTS=all installs it")
    return built("cpu.Dockerfile", tmp_path_factory.mktemp("model-image"))


@pytest.fixture
def stores(database_url, redis_url, tmp_path) -> dict[str, str]:
    """Settings as an image gets them: the database's address from a file."""
    secret = tmp_path / "database_url"
    secret.write_text(f"{database_url}\n")
    return {
        "MMESID_DATABASE__URL_FILE": str(secret),
        "MMESID_REDIS__URL": redis_url,
        "MMESID_ARTIFACTS__URL": str(tmp_path / "artifacts"),
    }


def test_the_gateways_image_serves_without_torch(gateway, stores):
    with gateway.serving("services.gateway", stores) as client:
        assert client.get("/health/ready").json()["database"] == "ready"
        assert "/v1/items" in client.get("/openapi.json").json()["paths"]
    assert not re.search("^torch==", gateway.run("pip", "freeze"), re.MULTILINE)
    assert gateway.megabytes() < budget("mmesid-gateway")


@pytest.mark.parametrize("module", ["services.training.relay", "services.training.cleaning"])
def test_relay_and_the_worker_that_cleans_up_need_no_other_image(gateway, module):
    gateway.run("python", "-c", f"import {module}")


def test_the_command_line_is_in_the_gateways_image(gateway):
    assert "--training" in gateway.run("mmesid", "train", "--help")


def test_the_models_image_ranks_on_a_cpu(model, stores):
    settings = {**stores, "MMESID_RANKING__ENGINE": "transformers"}
    with model.serving("services.ranking", settings) as client:
        assert client.get("/bundles").status_code == 200
    assert model.megabytes() < budget("mmesid-model:cpu")


def test_the_models_image_holds_the_encoders_weights(model, stores):
    with model.serving("services.embedding", stores) as client:
        answer = client.post("/embed", json={"inputs": [{"text": "a vase"}]})
        assert answer.status_code == 200, answer.text
