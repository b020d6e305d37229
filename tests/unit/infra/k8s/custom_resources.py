"""The kinds of KEDA and of the External Secrets Operator, as far as `k8s/` uses them.

No package that pip installs carries their schemas. These are ours, after the operators' documents:
they refuse what is misspelt or missing, and know only the fields that are in use here.
"""

from typing import Any


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
# KEDA reads numbers of triggers as text: YAML must quote them.
NUMBER_AS_TEXT = {"type": "string", "pattern": r"^\d+(\.\d+)?$"}
TEXTS_BY_NAME = {"type": "object", "additionalProperties": TEXT, "minProperties": 1}


def _trigger(kind: str, metadata: dict[str, Any], *, authenticated: bool = False) -> dict[str, Any]:
    reference = {"authenticationRef": _object({"name": TEXT})}
    return _object(
        {"type": {"const": kind}, "metadata": metadata, **(reference if authenticated else {})},
        {"name": TEXT, "metricType": {"enum": ["AverageValue", "Value", "Utilization"]}},
    )


TRIGGER = {
    "oneOf": [
        _trigger(
            "redis",
            _object(
                {"listName": TEXT, "listLength": NUMBER_AS_TEXT, "databaseIndex": NUMBER_AS_TEXT}
            ),
            authenticated=True,
        ),
        _trigger(
            "postgresql",
            _object({"query": TEXT, "targetQueryValue": NUMBER_AS_TEXT}),
            authenticated=True,
        ),
        _trigger(
            "prometheus",
            _object({"serverAddress": TEXT, "query": TEXT, "threshold": NUMBER_AS_TEXT}),
        ),
        _trigger("cpu", _object({"value": NUMBER_AS_TEXT})),
    ]
}
SCALING_POLICIES = _object(
    {
        "policies": {
            "type": "array",
            "items": _object(
                {"type": {"enum": ["Pods", "Percent"]}, "value": COUNT, "periodSeconds": COUNT}
            ),
        }
    },
    {"stabilizationWindowSeconds": COUNT},
)
SCALED_OBJECT = _object(
    {
        "scaleTargetRef": _object({"name": TEXT}),
        "minReplicaCount": COUNT,
        "maxReplicaCount": COUNT,
        "triggers": {"type": "array", "items": TRIGGER, "minItems": 1},
    },
    {
        "pollingInterval": COUNT,
        "cooldownPeriod": COUNT,
        "fallback": _object(
            {
                "failureThreshold": COUNT,
                "replicas": COUNT,
                "behavior": {"enum": ["static", "currentReplicas", "currentReplicasIfHigher"]},
            }
        ),
        "advanced": _object(
            {},
            {
                "scalingModifiers": _object({"formula": TEXT, "target": NUMBER_AS_TEXT}),
                "horizontalPodAutoscalerConfig": _object(
                    {
                        "behavior": _object(
                            {}, {"scaleUp": SCALING_POLICIES, "scaleDown": SCALING_POLICIES}
                        )
                    }
                ),
            },
        ),
    },
)
TRIGGER_AUTHENTICATION = _object(
    {
        "secretTargetRef": {
            "type": "array",
            "items": _object({"parameter": TEXT, "name": TEXT, "key": TEXT}),
            "minItems": 1,
        }
    }
)
EXTERNAL_SECRET = _object(
    {
        "refreshInterval": {"type": "string", "pattern": r"^\d+[smh]$"},
        "secretStoreRef": _object(
            {"kind": {"enum": ["SecretStore", "ClusterSecretStore"]}, "name": TEXT}
        ),
        "target": _object(
            {
                "name": TEXT,
                "creationPolicy": {"enum": ["Owner", "Orphan", "Merge", "None"]},
                "template": _object({"engineVersion": {"const": "v2"}, "data": TEXTS_BY_NAME}),
            }
        ),
        "dataFrom": {
            "type": "array",
            "items": _object({"extract": _object({"key": TEXT})}),
            "minItems": 1,
        },
    }
)


def _kind(api_version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _object(
        {
            "apiVersion": {"const": api_version},
            "kind": {"const": kind},
            "metadata": _object({"name": TEXT, "namespace": TEXT}),
            "spec": spec,
        }
    )


SCHEMAS = {
    "ScaledObject": _kind("keda.sh/v1alpha1", "ScaledObject", SCALED_OBJECT),
    "TriggerAuthentication": _kind(
        "keda.sh/v1alpha1", "TriggerAuthentication", TRIGGER_AUTHENTICATION
    ),
    "ExternalSecret": _kind("external-secrets.io/v1", "ExternalSecret", EXTERNAL_SECRET),
}
