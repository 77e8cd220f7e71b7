"""Scores of fine-tuned models: predictions and truths in, numbers out. Computed on the host, after evaluation."""

from tfllm.train.scores.answers import AnswerScores, answer_scores, normalized, overlap_f1
from tfllm.train.scores.classification import (
    ClassScores,
    MultiLabelScores,
    NumberScores,
    class_scores,
    multi_label_scores,
    number_scores,
)
from tfllm.train.scores.tagging import EntityScores, Word, accuracy_on_text, entity_scores, f1_on_text, tag_accuracy

__all__ = [
    "AnswerScores",
    "ClassScores",
    "EntityScores",
    "MultiLabelScores",
    "NumberScores",
    "Word",
    "accuracy_on_text",
    "answer_scores",
    "class_scores",
    "entity_scores",
    "f1_on_text",
    "multi_label_scores",
    "normalized",
    "number_scores",
    "overlap_f1",
    "tag_accuracy",
]
