"""What is asked of Hugging Face's `generate` and of ours: models of `cases.py`, prompts of ids, settings.

Neither PyTorch nor TensorFlow is imported: `record_generation.py` runs where one of them is, the test where the other is.
"""

from __future__ import annotations

from typing import Any

MODELS = ("gpt2", "llama")
EOS = 1
PROMPTS = ([5, 9, 12], [40, 7, 40, 7, 40, 3, 22], [33, 44])
"""Without the separator, which Hugging Face's repetition penalty does not spare."""

_BEAMS = [
    dict(num_beams=beams, length_penalty=penalty, early_stopping=early)
    for beams in (2, 4)
    for penalty in (-1.0, 0.0, 1.0, 2.5)
    for early in (False, True, "never")
]
SETTINGS: list[dict[str, Any]] = [
    dict(),
    dict(repetition_penalty=1.4),
    dict(no_repeat_ngram_size=2),
    dict(no_repeat_ngram_size=1, min_new_tokens=9),
    dict(bad_words=[[20], [38, 28], [36, 22], [3, 22, 28]], min_new_tokens=4),
    dict(logit_bias={"40": -4.0, "11": 2.5, "1": -1.0}),
    *_BEAMS,
    dict(num_beams=3, repetition_penalty=1.3, no_repeat_ngram_size=2, min_new_tokens=3),
]
"""Names of ours. Greedy, or beams with all of them returned; 10 new tokens at most."""
MAX_NEW_TOKENS = 10
EOS_BIAS = {"gpt2": 0.5, "llama": 1.5}
"""Added to the separator's score in beam searches, so that texts end at different lengths."""
