"""Two exports, each made once: SentencePiece with a greedy Llama, bytes with a sampling bfloat16 GPT-2."""

from pathlib import Path
from typing import Any, NamedTuple

import keras
import pytest
import tensorflow as tf
from c_program import build

import tfllm
from tfllm import tokenizers
from tfllm.generation import GenerationConfig

CORPUS = [f"def f{i}(self, other):\n    return self.value{i} + other[{i}]  # naïve 中文\n" for i in range(400)]


class Exported(NamedTuple):
    model: Any
    tokenizer: Any
    config: GenerationConfig
    folder: Path


def _export(folder: Path, tokenizer: Any, preset: str, dtype: str, config: GenerationConfig) -> Exported:
    keras.utils.set_random_seed(1)
    architecture = tfllm.preset(preset, vocab_size=tokenizer.vocab_size, initializer_range=0.3)
    model = tfllm.CausalLM(architecture, dtype=dtype)
    return Exported(model, tokenizer, config, tfllm.export(model, tokenizer, folder, config))


@pytest.fixture(scope="session")
def greedy(tmp_path_factory) -> Exported:
    tokenizer = tokenizers.train(texts=CORPUS, vocab_size=400, progress=False)
    config = GenerationConfig(max_new_tokens=24, stop=["self.", "\n\n"])
    return _export(tmp_path_factory.mktemp("exports") / "greedy", tokenizer, "llama-tiny", "float32", config)


@pytest.fixture(scope="session")
def sampling(tmp_path_factory) -> Exported:
    config = GenerationConfig(max_new_tokens=10, temperature=0.8, top_p=0.95, seed=3)
    folder = tmp_path_factory.mktemp("exports") / "sampling"
    return _export(folder, tokenizers.ByteTokenizer(), "gpt2-tiny", "mixed_bfloat16", config)


@pytest.fixture(scope="session")
def served(greedy):
    return tf.saved_model.load(str(greedy.folder)).signatures


@pytest.fixture(scope="session")
def served_sampling(sampling):
    return tf.saved_model.load(str(sampling.folder)).signatures


@pytest.fixture(scope="session")
def program(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("serve"))
