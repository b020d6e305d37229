"""What `k8s/` names is in the code, and what the code has runs in `k8s/`."""

import importlib.util
import json
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client import REGISTRY
from starlette.routing import Route

from services.embedding.app import create_app as create_embedding
from services.gateway.app import create_app as create_gateway
from services.ranking.app import create_app as create_ranking
from services.tokenization.app import create_app as create_tokenization
from services.training import relay
from services.training.celery_app import QUEUES, make_celery
from services.training.finetune_job import FinetuneJob
from shared.http import FINISH_WITHIN_S
from shared.settings import PREFIX, ServiceUrls, Settings, known_variables
from tests.unit.infra.k8s.conftest import ROOT

APPS = {
    "gateway": create_gateway,
    "embedding": create_embedding,
    "tokenization": create_tokenization,
    "ranking": create_ranking,
}
IMAGES = {
    "mmesid-gateway", "mmesid-model:cpu", "mmesid-model:gpu", "mmesid-ranking:gpu",
    "mmesid-trainer:gpu",
}  # fmt: skip
# Read by libraries or by Python itself.
OTHER_VARIABLES = {
    "HF_HUB_OFFLINE", "HOME", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED",
    "TOKENIZERS_PARALLELISM",
}  # fmt: skip
# What a secret may hold, and a ConfigMap may not.
SECRET = {
    "MMESID_DATABASE__URL", "MMESID_REDIS__URL", "MMESID_VECTORS__URL", "MMESID_VECTORS__API_KEY",
}  # fmt: skip


def paths_of(app):
    return {route.path for route in app.routes if isinstance(route, Route)}


def served_paths(service):
    """All GET paths, those of included routers too."""
    return paths_of(APPS[service](Settings()))


def own_containers(manifests):
    """The containers of our images, by app; the one that waits for the schema is among them."""
    for app, pod in manifests.pods.items():
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            if container["image"].startswith("mmesid-"):
                yield app, container


def variables(container):
    return {entry["name"]: entry for entry in container.get("env", [])}


def environment(overlay, monkeypatch):
    """The settings of an overlay, as a process of it would read them."""
    for name in known_variables():
        monkeypatch.delenv(name, raising=False)
    for name, value in overlay.settings.items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value)
    for name, template in overlay.secrets["mmesid"].items():
        monkeypatch.setenv(name, re.sub(r"{{.*?}}", "x", template))
    return Settings()


# From k8s/ to the code


def test_every_variable_is_a_setting_and_every_value_one_that_it_takes(overlay, monkeypatch):
    named = {*overlay.settings, *overlay.secrets["mmesid"]}
    for _, container in own_containers(overlay):
        named |= variables(container).keys()
    ours = {name for name in named if name.startswith(PREFIX)}
    assert ours <= known_variables()
    assert named - ours <= OTHER_VARIABLES
    environment(overlay, monkeypatch)


def test_what_is_secret_is_in_the_secret_only(overlay):
    assert overlay.secrets["mmesid"].keys() == SECRET
    assert not overlay.settings.keys() & SECRET


def test_every_command_is_a_module_of_ours_that_takes_its_arguments(kustomization):
    for app, container in own_containers(kustomization):
        command = container["command"]
        module = command[command.index("-m") + 1]
        found = importlib.util.find_spec(module)
        assert found is not None, f"{app}: {module}"
        if found.submodule_search_locations is not None:
            assert importlib.util.find_spec(f"{module}.__main__") is not None, f"{app}: {module}"


def test_workers_and_relay_are_started_with_options_that_there_are(overlay):
    commands = {
        tuple(container["command"][1:])
        for _, container in own_containers(overlay)
        if "services.training" in container["command"]
    }
    assert commands
    for command in commands:
        # Options before --help are read first, and refused where they are wrong.
        answer = subprocess.run(
            [sys.executable, *command, "--help"], capture_output=True, text=True, cwd=ROOT
        )
        assert answer.returncode == 0, answer.stderr


def test_the_finetune_job_is_one_that_the_code_reads_on_as_many_gpus_as_it_starts_processes(
    finetune_job, tmp_path
):
    container = finetune_job.container("finetune")
    scripts = {one.name for one in distribution("torch").entry_points}
    assert container["command"][0] == "torchrun"
    assert "torchrun" in scripts
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert f"--nproc_per_node={gpus}" in container["command"]
    (document,) = [json.loads(one["data"]["job.json"]) for one in finetune_job.of_kind("ConfigMap")]
    file = tmp_path / "job.json"
    file.write_text(json.dumps(document))
    job = FinetuneJob.read(file)
    mounts = tuple(mount["mountPath"] for mount in container["volumeMounts"])
    assert container["command"][-1].startswith(mounts)
    for folder in (job.snapshot, job.quantize, job.checkpoints, job.output):
        assert str(folder).startswith("/data/")


def test_every_probe_asks_for_a_path_that_is_served_at_a_port_that_is_named(overlay):
    probes = 0
    for app in APPS:
        container = overlay.container(app)
        assert container["ports"] == [
            {"name": "http", "containerPort": int(overlay.settings["MMESID_SERVER__PORT"])}
        ]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            assert asked["port"] == "http"
            assert asked["path"] in served_paths(app), f"{app}: {asked['path']}"
            probes += 1
    assert probes == 12


def test_prometheus_reads_a_port_that_has_metrics(overlay):
    for app in APPS:
        assert "/metrics" in served_paths(app)
    templates = [one["spec"]["template"] for one in overlay.of_kind("Deployment")]
    for template in templates:
        annotations = template["metadata"].get("annotations", {})
        (container,) = template["spec"]["containers"]
        ports = {str(port["containerPort"]) for port in container.get("ports", [])}
        assert ({annotations["prometheus.io/port"]} if annotations else set()) == ports
    assert overlay.container("relay")["command"][-2:] == [
        "--metrics-port",
        overlay.settings["MMESID_SERVER__PORT"],
    ]


def test_a_scaler_counts_a_queue_and_a_metric_that_there_are(overlay):
    known = {metric.name for metric in REGISTRY.collect()}
    database = urlsplit(overlay.secrets["mmesid"]["MMESID_REDIS__URL"]).path.removeprefix("/")
    queues = set()
    for scaled in overlay.of_kind("ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            told = trigger["metadata"]
            if trigger["type"] == "redis":
                # kombu keeps a queue as a list of its name, in the database of the URL.
                assert told["listName"] in QUEUES
                assert told["databaseIndex"] == database
                target = scaled["spec"]["scaleTargetRef"]["name"]
                assert told["listName"] in overlay.container(target)["command"]
                queues.add(told["listName"])
            if trigger["type"] == "prometheus":
                names = re.findall(r"mmesid_\w+", told["query"])
                assert names
                assert set(names) <= known
    assert queues >= {"cpu", "sync"}


def test_the_metrics_that_the_production_guide_tells_to_watch_are_there():
    assert relay.WAITING is not None  # its metrics are registered with its module
    known = set()
    for metric in REGISTRY.collect():
        known |= {metric.name, f"{metric.name}_total"}
        known |= {f"{metric.name}_{part}" for part in ("bucket", "count", "sum")}
    guide = (ROOT / "docs" / "production.md").read_text()
    named = set(re.findall(r"mmesid_[a-z_]+", guide))
    assert len(named) > 5
    assert named <= known


def test_the_settings_that_the_production_guide_names_are_there():
    guide = (ROOT / "docs" / "production.md").read_text()
    named = set(re.findall(r"MMESID_[A-Z]\w*", guide))
    assert named
    assert named <= known_variables()


def test_every_image_is_one_that_is_built_for_the_overlay(kustomization):
    used = {container["image"] for _, container in own_containers(kustomization)}
    assert used <= IMAGES
    tags = {image.partition(":")[2] for image in used if ":" in image}
    assert len(tags) == 1, "the images of one installation are all for CPUs or all for GPUs"


def test_a_service_is_found_at_the_url_of_its_setting(overlay):
    services = {one["metadata"]["name"]: one["spec"] for one in overlay.of_kind("Service")}
    given = {
        name.removeprefix("MMESID_SERVICES__").lower(): urlsplit(url)
        for name, url in overlay.settings.items()
        if name.startswith("MMESID_SERVICES__")
    }
    assert given.keys() == ServiceUrls.model_fields.keys() - {"timeout_s"}
    for name, url in given.items():
        service = services[url.hostname]
        assert [port["port"] for port in service["ports"]] == [url.port]
        assert [port["targetPort"] for port in service["ports"]] == ["http"]
        assert service["selector"]["app"] == name.removesuffix("_replicas")
    every = services["ranking-replicas"]
    assert every["clusterIP"] == "None"
    assert every["publishNotReadyAddresses"] is True


def test_from_outside_the_api_can_be_reached_and_health_and_metrics_cannot(overlay):
    rule = overlay.named("Ingress", "gateway")["spec"]["rules"][0]["http"]
    prefixes = tuple(path["path"] for path in rule["paths"])
    schema = APPS["gateway"](Settings()).openapi()
    assert schema["paths"]
    assert all(path.startswith(prefixes) for path in schema["paths"])
    assert {"/docs", "/openapi.json"} <= served_paths("gateway")
    for inner in ("/metrics", "/health/live", "/health/ready"):
        assert not inner.startswith(prefixes)


# From the code to k8s/


def test_every_service_of_the_code_runs_with_its_probes_its_service_and_its_budget(overlay):
    folders = {file.parent.name for file in (ROOT / "services").glob("*/__main__.py")}
    assert folders == {*APPS, "training"}
    services = {one["metadata"]["name"] for one in overlay.of_kind("Service")}
    budgets = {one["metadata"]["name"] for one in overlay.of_kind("PodDisruptionBudget")}
    for app in APPS:
        assert overlay.container(app)["command"] == ["python", "-m", f"services.{app}"]
        assert app in services
        assert app in budgets
    commands = [container["command"] for _, container in own_containers(overlay)]
    assert [c for c in commands if "relay" in c]
    assert ["python", "-m", "infra.migrations.upgrade"] in commands


def test_every_queue_that_a_task_goes_to_has_a_worker(overlay, monkeypatch):
    worked_on = {
        container["command"][-1]
        for _, container in own_containers(overlay)
        if "--queues" in container["command"]
    }
    settings = environment(overlay, monkeypatch)
    routed = {route["queue"] for route in make_celery(settings).conf.task_routes.values()}
    assert worked_on == routed


def test_whatever_needs_the_database_waits_for_its_schema(overlay):
    for app, pod in overlay.pods.items():
        if app in ("embedding", "migrations", "backup"):
            assert "await-schema" not in {one["name"] for one in pod.get("initContainers", [])}
        else:
            (first,) = pod["initContainers"]
            assert first["command"] == ["python", "-m", "infra.migrations.wait"]


def test_a_pod_that_goes_has_the_time_to_leave_its_service_and_to_finish_its_requests(overlay):
    for app in APPS:
        container, pod = overlay.container(app), overlay.pods[app]
        leaves = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        noticed = container["readinessProbe"]["periodSeconds"]
        assert leaves >= noticed
        assert pod["terminationGracePeriodSeconds"] >= leaves + FINISH_WITHIN_S + 15


def test_processes_that_share_a_model_have_a_gpu_each(gpu_overlay, monkeypatch):
    settings = environment(gpu_overlay, monkeypatch)
    gpus = {
        app: gpu_overlay.container(app)["resources"]["limits"]["nvidia.com/gpu"]
        for app in ("embedding", "ranking", "gpu-worker")
    }
    assert gpus == {
        "embedding": 1,
        "ranking": settings.ranking.tensor_parallel,
        "gpu-worker": settings.training.processes,
    }
    assert settings.training.queue == "gpu"
    # The live bundle, the one before and the next one are loaded at once.
    assert 3 * settings.ranking.gpu_memory_share < 1


WORKERS = {"cpu-worker", "gpu-worker", "sync-worker"}
CALLERS = {"gateway", "relay", *WORKERS}
OF_BUNDLES = {"tokenization", "ranking"}


@pytest.mark.parametrize(
    ("policy", "apps", "setting"),
    [
        ("to-postgres", {*CALLERS, *OF_BUNDLES, "migrations", "backup"}, "MMESID_DATABASE__URL"),
        ("to-redis", {*CALLERS, *OF_BUNDLES}, "MMESID_REDIS__URL"),
        ("to-qdrant", OF_BUNDLES, "MMESID_VECTORS__URL"),
        ("to-services", CALLERS, "MMESID_SERVICES__RANKING"),
        ("into-services", {*OF_BUNDLES, "embedding"}, "MMESID_SERVICES__EMBEDDING"),
    ],
)
def test_what_must_be_reached_may_be_reached_at_its_port(overlay, policy, apps, setting):
    spec = overlay.named("NetworkPolicy", policy)["spec"]
    (expression,) = spec["podSelector"]["matchExpressions"]
    assert set(expression["values"]) == apps
    assert set(overlay.pods) >= apps - {"gpu-worker"}
    url = {**overlay.settings, **overlay.secrets["mmesid"]}[setting]
    if setting == "MMESID_VECTORS__URL":  # whole in the secret's store: the usual port
        url = Settings().vectors.url
    rules = [*spec.get("egress", []), *spec.get("ingress", [])]
    ports = {port["port"] for rule in rules for port in rule["ports"]}
    assert ports == {int(number) for number in re.findall(r":(\d+)(?:/|$)", url)}


def test_nothing_is_allowed_that_is_not_named(overlay):
    denied = overlay.named("NetworkPolicy", "deny-all")["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_backup_runs_its_own_script(overlay):
    script = Path(ROOT, "k8s", "base", "backup.sh").read_text()
    (config,) = [
        one for one in overlay.of_kind("ConfigMap") if one["metadata"]["name"].startswith("backup-")
    ]
    assert config["data"] == {"backup.sh": script}
    pod = overlay.pods["backup"]
    for container, step in zip(
        [*pod["initContainers"], *pod["containers"]], ("database", "artifacts"), strict=True
    ):
        assert container["command"] == ["sh", "/backup/backup.sh", step]
        given = set(variables(container))
        assert given == set(re.findall(r"\$(?:{)?([A-Z_]{4,})", script))
