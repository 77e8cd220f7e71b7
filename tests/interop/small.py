"""Small models and tokenizers to write and read: all that a checkpoint's folder needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tfllm import tasks
from tfllm.config import ModelConfig
from tfllm.tokenizers.byte_bpe import ByteBPETokenizer
from tfllm.tokenizers.byte_bpe_merges import byte_letters
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

MERGES = (("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("o", "n"))
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
VOCAB = {"bert": 5 + 2 * 26 + 3, "roberta": len(SPECIALS) + 256 + len(MERGES)}
_SIZES: dict[str, Any] = dict(max_length=19, num_layers=2, hidden_size=12, num_heads=3, ffn_size=20)
_ENCODER = _SIZES | dict(causal=False, norm_place="post", embedding_norm=True, activation="gelu")
BERT = ModelConfig(**_ENCODER, vocab_size=VOCAB["bert"], num_types=2, norm_epsilon=1e-12)
ROBERTA = ModelConfig(**_ENCODER, vocab_size=VOCAB["roberta"], num_types=1, position_offset=2)
GPT2 = ModelConfig(**_SIZES, vocab_size=VOCAB["roberta"])
LLAMA = ModelConfig(
    **_SIZES | dict(num_heads=6, num_kv_heads=2, norm="rms", positions="rotary", activation="silu", gated_ffn=True),
    **dict(vocab_size=VOCAB["roberta"], qkv_bias=False, attention_output_bias=False, ffn_bias=False, tied_embeddings=False),
)
LABELS = dict(labels=["no", "perhaps", "yes"])

MODELS: dict[str, tuple[str, ModelConfig, dict[str, Any]]] = {
    "BertForPreTraining": ("masked_lm", BERT.replace(pooler=True), dict(next_sentence=True)),
    "BertForMaskedLM": ("masked_lm", BERT, {}),
    "BertForMaskedLM untied": ("masked_lm", BERT.replace(tied_embeddings=False), {}),
    "BertForSequenceClassification": ("text_classifier", BERT.replace(pooler=True), LABELS),
    "BertForSequenceClassification regression": ("text_regressor", BERT.replace(pooler=True), {}),
    "BertForTokenClassification": ("token_classifier", BERT, LABELS),
    "BertForQuestionAnswering": ("question_answerer", BERT, {}),
    "BertModel": ("text_embedder", BERT.replace(pooler=True), dict(pooling="first", normalize=False)),
    "RobertaForMaskedLM": ("masked_lm", ROBERTA, {}),
    "RobertaForSequenceClassification": ("text_classifier", ROBERTA.replace(pooler=True), LABELS | dict(multi_label=True)),
    "RobertaForTokenClassification": ("token_classifier", ROBERTA, LABELS),
    "RobertaForQuestionAnswering": ("question_answerer", ROBERTA, {}),
    "RobertaModel": ("text_embedder", ROBERTA, {}),
    "GPT2LMHeadModel": ("causal_lm", GPT2, {}),
    "LlamaForCausalLM": ("causal_lm", LLAMA, {}),
}
"""By the class of Transformers: task, config, settings."""


def strong(name: str) -> Any:
    """One of `MODELS`, with weights of which none can be exchanged unseen."""
    task, config, settings = MODELS[name]
    model = tasks.get(task).model_class(config, **settings)
    random = np.random.default_rng(0)
    for variable in model.variables:
        centre = 1.0 if variable.path.endswith("scale") else 0.0
        variable.assign(random.normal(centre, 0.25, variable.shape))
    return model


def tokenizer_for(config: ModelConfig, folder: Path) -> Any:
    """WordPiece over letters for BERT; RoBERTa's byte-level BPE with a few merges for the others."""
    if config is BERT or (not config.causal and not config.position_offset):
        letters = [chr(ord("a") + i) for i in range(26)]
        pieces = [
            "[PAD]",
            "[UNK]",
            "[CLS]",
            "[SEP]",
            "[MASK]",
            *letters,
            *(f"##{letter}" for letter in letters),
            "the",
            ",",
            ".",
        ]
        (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
        return WordPieceTokenizer.from_file(folder / "vocab.txt")
    pieces = [*SPECIALS, *byte_letters(), *("".join(pair) for pair in MERGES)]
    (folder / "vocab.json").write_text(json.dumps({piece: id for id, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in MERGES))
    return ByteBPETokenizer.from_file(folder)


def features(config: ModelConfig, pad: int) -> dict[str, np.ndarray]:
    """Three rows of 11, 7 and 3 tokens; the second text of each begins at place 2."""
    random = np.random.default_rng(1)
    there = (np.arange(11) < np.array([[11], [7], [3]])).astype(np.int32)
    ids = random.integers(5, config.vocab_size, there.shape)
    types = (np.arange(11) >= 2) * there * (config.num_types > 1)
    return {
        "token_ids": np.where(there, ids, pad).astype(np.int32),
        "segment_ids": there,
        "type_ids": types.astype(np.int32),
    }
