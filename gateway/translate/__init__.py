"""Between protos and the JSON of the HTTP interface: a module a resource, one pure function a direction and message."""

from gateway.translate import checkpoints, dataset, inference, jobs, review, training, values

__all__ = ["checkpoints", "dataset", "inference", "jobs", "review", "training", "values"]
