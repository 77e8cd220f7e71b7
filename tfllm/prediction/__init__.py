"""Encoders at work: texts in, labels, entities, answers, vectors out. `predict` and exports run one graph."""

from tfllm.prediction.answers import INPUTS, answers
from tfllm.prediction.python import predict

__all__ = ["INPUTS", "answers", "predict"]
