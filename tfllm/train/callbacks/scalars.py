"""Writes one point of a curve, with the name and the description that TensorBoard shows.

Input: tag, value, step. Output: an event in the default writer.
"""

from __future__ import annotations

import tensorflow as tf
from tensorboard.plugins.scalar.metadata import create_summary_metadata

DESCRIPTIONS = {
    "loss": "What training minimises: nats per target, or what the task's loss counts.",
    "perplexity": "exp(loss): the number of equally probable tokens that would be as hard to choose from.",
    "accuracy": "Share of targets that have the highest score.",
    "bits_per_byte": "Bits of the text's tokens over its UTF-8 bytes; comparable across tokenizers.",
    "gradient_norm": "Global norm of the gradient, before clipping.",
    "learning_rate": "Of the next step.",
    "pair_loss": "Nats per pair of texts.",
    "pair_accuracy": "Share of pairs of texts that are told right.",
    "absolute_error": "Mean distance of the prediction from the true number.",
    "tokens_per_second": "Tokens trained on a second, without validation and saving.",
    "rows_per_second": "Rows trained on a second, without validation and saving.",
    "words_per_second": "Words trained on a second, without validation and saving.",
    "flops_utilisation": "Share of the speed that one large matrix product reaches on this device.",
    "precision": "Share of predicted entities that are true.",
    "recall": "Share of true entities that are found.",
    "f1": "Harmonic mean of precision and recall; of answers, of the words they share with the true one.",
    "macro_precision": "Mean over the classes of the share of predictions that are right.",
    "macro_recall": "Mean over the classes of the share of rows that are found.",
    "macro_f1": "Mean over the classes of F1.",
    "micro_f1": "F1 of all rows and classes together.",
    "matthews": "Matthews' correlation coefficient of predicted and true classes.",
    "pearson": "Pearson's correlation of predicted and true numbers.",
    "spearman": "Spearman's rank correlation of predicted and true numbers.",
    "mean_squared_error": "Mean squared distance of the prediction from the true number.",
    "exact_match": "Share of answers that are a true one, letter for letter but for case, punctuation and articles.",
    "exact_match_answerable": "Exact match over the questions that have an answer.",
    "f1_answerable": "F1 over the questions that have an answer.",
    "oracle_exact_match": "Share of questions whose true answer can be given exactly: the most that exact match can reach.",
    "f1_on_text": "F1 of entities by characters, as predict finds them in text.",
    "accuracy_on_text": "Share of words of which every part has the label, as predict finds words in text.",
    "right_unanswerable": "Share of the questions without an answer that are given none.",
    "recall_at_1": "Share of texts whose partner is the nearest of all.",
    "mean_reciprocal_rank": "Mean of one over the partner's rank among all texts.",
}


def name_and_description(tag: str) -> tuple[str, str]:
    """The name and the description that TensorBoard shows for a tag.

    bits_per_byte  ->  "bits per byte", "Bits of the text's tokens over its UTF-8 bytes; comparable across tokenizers."
    f1_PER         ->  "F1 of PER", "F1 of the entities of this label."
    """
    if tag not in DESCRIPTIONS and tag.startswith("f1_"):
        return f"F1 of {tag.removeprefix('f1_')}", "F1 of the entities of this label."
    return tag.replace("_", " "), DESCRIPTIONS.get(tag, "")


def write_scalar(tag: str, value: float, step: int) -> None:
    """Writes a point to the default writer."""
    name, description = name_and_description(tag)
    metadata = create_summary_metadata(display_name=name, description=description)
    tf.summary.write(tag, tf.constant(value, tf.float32), step=step, metadata=metadata)
