"""Between protos and the JSON of checkpoints."""

# ruff: noqa: D103 - the names and types of these functions say all there is to say

from __future__ import annotations

from timbre.inference.v1 import inference_pb2
from timbre.trainer.v1 import trainer_pb2

from gateway.schemas import training
from gateway.translate.values import given

MEBIBYTE = 1024 * 1024


def checkpoint(message: trainer_pb2.Checkpoint) -> training.Checkpoint:
    return training.Checkpoint(
        name=message.name,
        path=message.path,
        epoch=message.epoch,
        date=message.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M"),
        size_mb=round(message.size_bytes / MEBIBYTE, 2),
        model_name=message.model_name,
        loss=given(message, "loss"),
        eval_loss=given(message, "eval_loss"),
        similarity=given(message, "similarity"),
        mfcc_score=given(message, "mfcc_score"),
        current=message.current,
        best=message.best,
    )


def loaded(reply: inference_pb2.LoadCheckpointResponse) -> training.CheckpointLoaded:
    return training.CheckpointLoaded(checkpoint=reply.checkpoint)


def promoted(reply: trainer_pb2.PromoteCheckpointResponse) -> training.CheckpointPromoted:
    return training.CheckpointPromoted(model_name=reply.model_name, checkpoint=reply.checkpoint)


def deleted(reply: trainer_pb2.DeleteCheckpointResponse) -> training.CheckpointDeleted:
    return training.CheckpointDeleted(checkpoint=reply.checkpoint)
