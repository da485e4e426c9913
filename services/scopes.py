"""Who may call what: every method of every service and the scopes of which a caller needs one."""

from __future__ import annotations

from collections.abc import Mapping

READ, WRITE, TRAINING, INFERENCE = "dataset:read", "dataset:write", "training", "inference"

# The jobs of all kinds lie in one table: who may start some may look at all, and stop those of that kind.
_LOOK = (READ, WRITE, TRAINING)
_CHANGE = (WRITE, TRAINING)

_BY_SERVICE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "timbre.dataset.v1.DatasetService": {
        "StartDownload": (WRITE,),
        "StartSegmentation": (WRITE,),
        "StartTranscription": (WRITE,),
        "StartImport": (WRITE,),
        "UploadRecording": (WRITE,),
        "UploadArchive": (WRITE,),
        "GetDatasetStats": (READ, WRITE),
        "ListDatasetFiles": (READ, WRITE),
        "ListDatasets": (READ, WRITE),
        "ListSegments": (READ, WRITE),
        "GetSegment": (READ, WRITE),
        "UpdateSegment": (WRITE,),
        "ExcludeSegments": (WRITE,),
        "ListRecordings": (READ, WRITE),
        "DeleteRecording": (WRITE,),
        "DeleteDataset": (WRITE,),
        "PreviewSegmentation": (READ, WRITE),
        "ExportDataset": (READ, WRITE),
    },
    "timbre.trainer.v1.TrainerService": {
        "StartTraining": (TRAINING,),
        "StopTraining": (TRAINING,),
        "GetTrainingStatus": (TRAINING,),
        "GetTrainingLogs": (TRAINING,),
        "GetTrainingMetrics": (TRAINING,),
        "EstimateTraining": (TRAINING,),
        "ListRuns": (TRAINING,),
        "ListCheckpoints": (TRAINING, INFERENCE),
        "DeleteCheckpoint": (TRAINING,),
        "PromoteCheckpoint": (TRAINING,),
        "ListVoices": (TRAINING, INFERENCE),
    },
    "timbre.inference.v1.InferenceService": {
        "LoadCheckpoint": (INFERENCE,),
        "Synthesize": (INFERENCE,),
        "SynthesizeStream": (INFERENCE,),
        "ListUtterances": (INFERENCE,),
        "DeleteUtterance": (INFERENCE,),
        "CompareCheckpoint": (INFERENCE,),
        "CastVote": (INFERENCE,),
        "GetVotes": (INFERENCE,),
        "ListModels": (INFERENCE,),
        "GetModel": (INFERENCE,),
        "ExportCheckpoint": (TRAINING, INFERENCE),
        "GetInferenceStatus": (INFERENCE, TRAINING),
    },
    "timbre.jobs.v1.JobsService": {
        "GetJob": _LOOK,
        "ListJobs": _LOOK,
        "GetJobLog": _LOOK,
        "WatchJob": _LOOK,
        "WatchJobs": _LOOK,
        "CancelJob": _CHANGE,
    },
}

RPC_SCOPES: Mapping[str, tuple[str, ...]] = {
    f"/{service}/{method}": scopes for service, methods in _BY_SERVICE.items() for method, scopes in methods.items()
}
"""Full method name, as gRPC writes it, to scopes. What is not listed, reflection among it, needs `admin`."""

JOB_SCOPES: Mapping[str, tuple[str, ...]] = {"dataset": (WRITE,), "trainer": (TRAINING,)}
"""The first part of a job's kind, such as `trainer` of `trainer.train`, to the scopes of which one is needed to stop it."""
