"""The functions of an export.

In: a model, a tokenizer, a generation config. Out: one concrete function for each signature, with the inputs and outputs that
`contract.py` lists. The graph checks the inputs: a request with an invalid value fails with INVALID_ARGUMENT and a message.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from tfllm import tasks
from tfllm.exporting.contract import Signature, contract_name, contract_of
from tfllm.generation import GenerationConfig
from tfllm.generation.decoding_state import Results, text_of
from tfllm.generation.model_steps import Prompts
from tfllm.generation.row_settings import RowSettings, assert_valid, row_specs, same_for_all
from tfllm.generation.scoring import scores_of
from tfllm.generation.shared_settings import shared_settings_of
from tfllm.generation.strategies import continue_prompts
from tfllm.models.base import LanguageModel
from tfllm.prediction import answers
from tfllm.tokenizers import Tokenizer

Tensors = dict[str, tf.Tensor]


def contract_name_of(model: LanguageModel) -> str:
    """The name of the contract of the model's export."""
    return contract_name(model.task, getattr(model, "pairs", False))


def build(
    model: LanguageModel, tokenizer: Tokenizer, config: GenerationConfig, draft_model: LanguageModel | None = None
) -> dict[str, Any]:
    """One concrete function for each signature of the model's contract."""
    export = tasks.task_of(model).export
    if export is None:
        functions = {"serving_default": _predicting(model, tokenizer)}
    else:
        functions = tasks.resolve(export.functions)(model, tokenizer, config, draft_model)
    signatures = contract_of(contract_name_of(model), config.to_dict()).signatures
    return {name: _concrete(signatures[name], function) for name, function in functions.items()}


def _predicting(model: LanguageModel, tokenizer: Tokenizer) -> Callable[..., Tensors]:
    """The model's predictions. Ragged ones are padded, and `count` holds the number of each row."""
    function = answers(model, tokenizer)

    def serving_default(**texts: tf.Tensor) -> Tensors:
        found = function(**texts)
        ragged = [each for each in found.values() if isinstance(each, tf.RaggedTensor)]
        padded = {name: each.to_tensor() if isinstance(each, tf.RaggedTensor) else each for name, each in found.items()}
        return padded | ({"count": tf.cast(ragged[0].row_lengths(), tf.int32)} if ragged else {})

    return serving_default


def generation_functions(
    model: LanguageModel, tokenizer: Tokenizer, config: GenerationConfig, draft_model: LanguageModel | None
) -> dict[str, Callable[..., Tensors]]:
    """The functions of a causal model.

    `serving_default` takes all settings from the config. `generate` takes from it only those that all rows share.
    """
    shared = shared_settings_of(config, tokenizer)
    rows = [tf.TensorSpec([None], tf.string), row_specs()]

    @partial(tf.function, input_signature=rows, autograph=False)  # both signatures call it, so the graph has it once
    def answer(prompt: tf.Tensor, settings: RowSettings) -> Tensors:
        found = continue_prompts(model, _tokenized(model, tokenizer, prompt), settings, shared, draft_model)
        return {"text": text_of(found, shared.stop, tokenizer.detokenize)} | _outputs(found)

    def serving_default(prompt: tf.Tensor) -> Tensors:
        return {"text": answer(prompt, same_for_all(config, tf.size(prompt)))["text"]}

    longest = max(model.config.max_length, config.max_new_tokens)

    def generate(prompt: tf.Tensor, **settings: tf.Tensor) -> Tensors:
        with tf.control_dependencies(assert_valid(settings, tf.size(prompt), longest)):
            prompt = tf.identity(prompt)
            # Without this, memory for these sizes may be allocated before the assertions fail.
            settings = {name: tf.identity(each) for name, each in settings.items()}
        return answer(prompt, same_for_all(config, tf.size(prompt))._replace(**settings))

    def score_text(text: tf.Tensor) -> Tensors:
        scores = scores_of(model, tokenizer, text)
        return {"num_bytes": tf.strings.length(text), "log_prob": scores.log_prob, "num_tokens": scores.num_tokens}

    def tokenize(text: tf.Tensor) -> Tensors:
        ids = tokenizer.tokenize(text)
        return {"token_ids": ids.to_tensor(tokenizer.pad_id), "num_tokens": tf.cast(ids.row_lengths(), tf.int32)}

    def detokenize(token_ids: tf.Tensor, num_tokens: tf.Tensor) -> Tensors:
        with tf.control_dependencies([*_lengths(token_ids, num_tokens), _known(token_ids, tokenizer)]):
            num_tokens = tf.identity(num_tokens)
            return {"text": tokenizer.detokenize(tf.RaggedTensor.from_tensor(token_ids, lengths=num_tokens))}

    return {
        "serving_default": serving_default,
        "generate": generate,
        "score": score_text,
        "tokenize": tokenize,
        "detokenize": detokenize,
    }


def _outputs(found: Results) -> Tensors:
    """The results by their names in the contract, without those that were not computed."""
    outputs = {"token_ids": found.token_ids, "log_probs": found.log_probs, "num_tokens": found.num_tokens}
    if found.top:
        outputs |= {"top_token_ids": found.top.token_ids, "top_log_probs": found.top.log_probs}
    if tf.is_tensor(found.scores):
        outputs |= {"score": found.scores}
    if tf.is_tensor(found.num_draft_tokens):
        outputs |= {"num_draft_tokens": found.num_draft_tokens, "num_accepted_tokens": found.num_accepted_tokens}
    return outputs


def _concrete(signature: Signature, function: Callable[..., Tensors]) -> Any:
    specs = {key: tf.TensorSpec([None] * len(field.shape), field.dtype, name=key) for key, field in signature.inputs.items()}
    return tf.function(function, autograph=False).get_concrete_function(**specs)


def _tokenized(model: LanguageModel, tokenizer: Tokenizer, prompt: tf.Tensor) -> Prompts:
    """The tokens of the prompts, string [B], each after the separator (bos)."""
    ids = tokenizer.tokenize(prompt)
    with_separator = tf.concat([tf.fill([tf.size(prompt), 1], tokenizer.bos_id), ids], 1)
    lengths = tf.cast(with_separator.row_lengths(), tf.int32)
    assertions = [tf.debugging.Assert(tf.size(prompt) > 0, ["prompt is invalid: expected at least one text, got:", prompt])]
    if model.config.positions == "learned":
        limit = model.config.max_length
        message = f"prompt is invalid: expected at most {limit - 1} tokens, the model has {limit} positions. With separator:"
        assertions.append(tf.debugging.Assert(tf.reduce_all(lengths <= limit), [message, lengths]))
    with tf.control_dependencies(assertions):
        return Prompts(with_separator.to_tensor(tokenizer.pad_id), tf.identity(lengths))


def _lengths(token_ids: tf.Tensor, num_tokens: tf.Tensor) -> list[tf.Operation]:
    rows, width = tf.shape(token_ids)[0], tf.shape(token_ids)[1]
    message = "num_tokens is invalid: expected a value for each row of token_ids, from 0 to its width. Rows, width and values:"
    valid = (tf.size(num_tokens) == rows) & tf.reduce_all((num_tokens >= 0) & (num_tokens <= width))
    return [tf.debugging.Assert(valid, [message, rows, width, num_tokens])]


def _known(token_ids: tf.Tensor, tokenizer: Tokenizer) -> tf.Operation:
    valid = tf.reduce_all((token_ids >= 0) & (token_ids < tokenizer.vocab_size))
    message = f"token_ids is invalid: expected integers from 0 to {tokenizer.vocab_size - 1}, got:"
    return tf.debugging.Assert(valid, [message, token_ids])
