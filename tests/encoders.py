"""A small model of every task that predicts, with weights strong enough for answers to differ, and real texts to ask about."""

from __future__ import annotations

from typing import Any

import numpy as np

import tfllm
from tfllm.config import ModelConfig

ENTITIES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
POS = ("NOUN", "VERB", "X")
MAKERS = {
    "masked_lm": lambda config: tfllm.MaskedLM(config),
    "text_classifier": lambda config: tfllm.TextClassifier(config, labels=["good", "bad", "ugly"]),
    "text_classifier of pairs": lambda config: tfllm.TextClassifier(config, labels=["no", "yes"], pairs=True),
    "several labels": lambda config: tfllm.TextClassifier(config, labels=["a", "b", "c"], multi_label=True),
    "text_regressor": lambda config: tfllm.TextRegressor(config),
    "text_embedder": lambda config: tfllm.TextEmbedder(config),
    "token_classifier": lambda config: tfllm.TokenClassifier(config, labels=ENTITIES),
    "parts of speech": lambda config: tfllm.TokenClassifier(config, labels=POS),
    "question_answerer": lambda config: tfllm.QuestionAnswerer(config),
}
TEXTS = [
    "",
    "Ada Byron, later Lady Lovelace, wrote the first program in London.",
    "naïve 中文 text — ½ of it! 🙂",
    "  two  spaces \t and\na line ",
    "[MASK] is the [MASK].",
    "word " * 60,
]
OTHERS = ["Who?", "", "Where did Ada live?", "x", "中文", "What is said over and over again in this long text?"]


def strong(name: str, tokenizer: Any, **changes: Any) -> Any:
    config = ModelConfig(
        **dict(vocab_size=tokenizer.vocab_size, max_length=48, num_layers=2, hidden_size=32, num_heads=4, ffn_size=48),
        **dict(causal=False, num_types=2, norm_place="post", embedding_norm=True, activation="gelu", pooler=True),
    )
    model, random = MAKERS[name](config.replace(**changes)), np.random.default_rng(7)
    for variable in model.trainable_variables:
        spread = 0.5 if "/head/kernel" in variable.path else 0.2
        variable.assign(random.normal(1.0 if variable.path.endswith("scale") else 0.0, spread, variable.shape))
    return model


def columns(model: Any) -> list[list[str]]:
    """What the model is asked: one column an input."""
    if model.task == "question_answerer":
        return [OTHERS, TEXTS]
    return [TEXTS, OTHERS] if getattr(model, "pairs", False) else [TEXTS]
