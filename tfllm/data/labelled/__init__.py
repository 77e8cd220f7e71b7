"""Labelled files to batches, one function a task: each tokenizes once and gives a `Labelled`."""

from tfllm.data.labelled.extractive_qa import Answer, Questions, question_answering
from tfllm.data.labelled.rows import Flat, Labelled
from tfllm.data.labelled.texts import regression, text_classification, text_pairs
from tfllm.data.labelled.token_classification import Tagged, tagging
from tfllm.data.labelled.validation_split import split

__all__ = [
    "Answer",
    "Flat",
    "Labelled",
    "Questions",
    "Tagged",
    "question_answering",
    "regression",
    "split",
    "tagging",
    "text_classification",
    "text_pairs",
]
