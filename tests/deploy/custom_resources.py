"""What of the custom resources we use: their schemas come with the operators, which are no part of Kubernetes.

Kept by hand after the documentation of KubeRay 1.5 (ray.io/v1) and the Prometheus operator (monitoring.coreos.com/v1). Nothing
but the fields that we use is allowed, so that a misspelt one is found. Pod templates are checked as Kubernetes' own pods.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
ANY: Schema = {"type": "object"}
LENGTH: Schema = {"type": "string", "pattern": r"^\d+(ms|[smhdwy])$"}


def record(required: dict[str, Schema], **optional: Schema) -> Schema:
    """Returns the schema of an object that has nothing else."""
    return {
        "type": "object",
        "properties": required | optional,
        "required": list(required),
        "additionalProperties": False,
    }


def many(of: Schema) -> Schema:
    """Returns the schema of a list that is not empty."""
    return {"type": "array", "items": of, "minItems": 1}


def resource(version: str, kind: str, spec: Schema) -> Schema:
    """Returns the schema of an object."""
    metadata = record({"name": TEXT, "namespace": TEXT})
    return record({"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": metadata, "spec": spec})


AUTOSCALER = record({}, idleTimeoutSeconds=COUNT, env=many(ANY), securityContext=ANY, resources=ANY)
GROUP = {
    "groupName": TEXT,
    "replicas": COUNT,
    "minReplicas": COUNT,
    "maxReplicas": COUNT,
    "rayStartParams": TEXTS,
    "template": ANY,
}
RULE = record({"alert": TEXT, "expr": TEXT, "for": LENGTH, "labels": TEXTS, "annotations": TEXTS})

SCHEMAS = {
    "RayCluster": resource(
        "ray.io/v1",
        "RayCluster",
        record(
            {
                "rayVersion": TEXT,
                "enableInTreeAutoscaling": {"type": "boolean"},
                "autoscalerOptions": AUTOSCALER,
                "headGroupSpec": record({"rayStartParams": TEXTS, "template": ANY}),
                "workerGroupSpecs": many(record(GROUP)),
            }
        ),
    ),
    "ServiceMonitor": resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        record({"selector": ANY, "endpoints": many(record({"port": TEXT, "path": TEXT}))}),
    ),
    "PrometheusRule": resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        record({"groups": many(record({"name": TEXT, "rules": many(RULE)}))}),
    ),
}
