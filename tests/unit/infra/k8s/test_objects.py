"""Every object is what its kind allows, and nothing more."""

from copy import deepcopy

import jsonschema
import kubernetes_validate
import pytest

from tests.unit.infra.k8s.custom_resources import SCHEMAS

KUBERNETES = "1.37"


def check(one):
    """Raises where the object is not of its kind, or has a field that its kind does not know."""
    if one["kind"] in SCHEMAS:
        jsonschema.validate(one, SCHEMAS[one["kind"]], jsonschema.Draft202012Validator)
    else:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_every_object_is_valid(kustomization):
    for one in kustomization.objects:
        check(one)


def test_a_field_that_there_is_not_would_be_found(overlay):
    one_of_a_kind = {one["kind"]: one for one in overlay.objects if "spec" in one}
    for one in one_of_a_kind.values():
        misspelt = deepcopy(one)
        misspelt["spec"]["replica"] = 1
        with pytest.raises(jsonschema.ValidationError, match="replica"):
            check(misspelt)


def test_everything_lies_in_one_namespace(kustomization):
    names = {one["metadata"].get("namespace") for one in kustomization.objects}
    assert names - {None} == {"mmesid"}


def containers(pod):
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_no_process_is_root_or_may_become_it_or_writes_outside_of_its_volumes(kustomization):
    for app, pod in kustomization.pods.items():
        assert pod["securityContext"]["runAsNonRoot"] is True, app
        assert pod["securityContext"]["runAsUser"] == 10001, app
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, app
        assert pod["automountServiceAccountToken"] is False, app
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, app


def test_every_container_says_what_it_needs_and_how_much_memory_it_may_have(kustomization):
    for app, pod in kustomization.pods.items():
        for container in containers(pod):
            resources = container["resources"]
            assert resources["requests"].keys() >= {"cpu", "memory"}, app
            assert "memory" in resources["limits"], app


def test_what_a_pod_mounts_and_refers_to_is_there(overlay):
    claims = {one["metadata"]["name"] for one in overlay.of_kind("PersistentVolumeClaim")}
    maps = {one["metadata"]["name"] for one in overlay.of_kind("ConfigMap")}
    for app, pod in overlay.pods.items():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, app
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps, app
        for container in containers(pod):
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= set(volumes)
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    assert source["configMapRef"]["name"] in maps, app
                else:
                    assert source["secretRef"]["name"] in overlay.secrets, app


def test_budgets_services_and_constraints_choose_pods_that_there_are(overlay):
    apps = set(overlay.pods)
    for budget in overlay.of_kind("PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"]["app"] in apps
    for service in overlay.of_kind("Service"):
        assert service["spec"]["selector"]["app"] in apps
    for app, pod in overlay.pods.items():
        for constraint in pod.get("topologySpreadConstraints", []):
            assert constraint["labelSelector"] == {"matchLabels": {"app": app}}


def test_a_scaler_finds_its_deployment_its_secrets_and_a_number_that_no_apply_sets_back(overlay):
    known = {one["metadata"]["name"]: one for one in overlay.of_kind("TriggerAuthentication")}
    for authentication in known.values():
        for reference in authentication["spec"]["secretTargetRef"]:
            assert reference["key"] in overlay.secrets[reference["name"]]
    for scaled in overlay.of_kind("ScaledObject"):
        target = overlay.named("Deployment", scaled["spec"]["scaleTargetRef"]["name"])
        assert "replicas" not in target["spec"]
        for trigger in scaled["spec"]["triggers"]:
            if "authenticationRef" in trigger:
                assert trigger["authenticationRef"]["name"] in known


def test_a_gpu_is_asked_for_where_the_node_has_one_and_lets_the_pod_in(gpu_overlay, finetune_job):
    pods = {**gpu_overlay.pods, **finetune_job.pods}
    on_a_gpu = {
        app for app, pod in pods.items()
        if "nvidia.com/gpu" in pod["containers"][0]["resources"]["limits"]
    }  # fmt: skip
    assert on_a_gpu == {"embedding", "ranking", "gpu-worker", "finetune"}
    for app in on_a_gpu:
        assert any(label.startswith("nvidia.com/gpu.") for label in pods[app]["nodeSelector"])
        assert "nvidia.com/gpu" in {one["key"] for one in pods[app]["tolerations"]}
