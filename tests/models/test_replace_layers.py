"""`replace_layers`: another model of the same structure and paths, around the layers that it does not replace."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tfllm.features import TARGET_IDS, TARGET_WEIGHTS, TOKEN_IDS
from tfllm.layers.base import Linear
from tfllm.layers.heads import VocabularyHead
from tfllm.models import replace_layers
from tfllm.models.inference import cast_matrices
from tfllm.tokenizers import ByteTokenizer
from tfllm.train import adamw

TOKENIZER = ByteTokenizer()
IDS = tf.constant([[3, 4, 5, 6], [7, 8, 9, 10]])


def causal(**settings) -> tfllm.CausalLM:
    return tfllm.CausalLM(
        tfllm.preset("gpt2-tiny", vocab_size=TOKENIZER.vocab_size, num_layers=2, initializer_range=0.1, **settings), seed=1
    )


class LoRALinear(Linear):
    """x @ (W + a b), of which a and b are trained (Hu et al. 2021)."""

    def __init__(self, linear: Linear, rank: int):
        super().__init__(linear.sizes[0], *linear.parts, **linear.settings())
        self.base, self.rank = linear, rank
        self.bias = linear.bias

    def build(self, input_shape=None):
        self.down = self.add_weight(name="down", shape=[self.sizes[0], self.rank], initializer="glorot_normal")
        self.up = self.add_weight(name="up", shape=[self.rank, self.sizes[1]], initializer="zeros")

    def product(self, x, options):
        return self.base.product(x, options) + x @ tf.convert_to_tensor(self.down) @ tf.convert_to_tensor(self.up)

    @property
    def matrix(self):
        return self.base.matrix + tf.convert_to_tensor(self.down) @ tf.convert_to_tensor(self.up)


def with_lora(layer, path):
    return LoRALinear(layer, rank=2) if isinstance(layer, Linear) and "/attention/" in path else None


def paths(model: keras.Model) -> list[str]:
    return [variable.path for variable in model.variables]


def test_nothing_replaced_is_the_same_model_again():
    model = causal()
    seen = []
    same = replace_layers(model, lambda layer, path: seen.append((layer.path, path)))
    assert type(same) is tfllm.CausalLM and same is not model and same.built
    assert len(seen) == 2 + 2 * 6 + 1 + 1 and all(one == other for one, other in seen)
    for one, other in zip(same.variables, model.variables, strict=True):
        assert one is other
    assert [layer.path for layer in same._flatten_layers()] == [layer.path for layer in model._flatten_layers()]
    np.testing.assert_array_equal(same({TOKEN_IDS: IDS}), model({TOKEN_IDS: IDS}))
    lines, again = [], []
    model.summary(expand_nested=True, print_fn=lines.append)
    same.summary(expand_nested=True, print_fn=again.append)
    assert lines == again


def test_what_is_frozen_stays_frozen():
    model = tfllm.TextClassifier(tfllm.preset("bert-tiny", vocab_size=300, num_layers=2), labels=["a", "b"])
    model.freeze(1)
    same = replace_layers(model, lambda layer, path: None)
    assert [each.path for each in same.trainable_variables] == [each.path for each in model.trainable_variables]
    assert not same.stack.blocks[0].trainable and same.stack.blocks[1].trainable


def test_a_trainable_replacement_is_trained_and_exported(tmp_path):
    model = causal()
    before = [variable.numpy() for variable in model.variables]
    adapted = replace_layers(model, with_lora)
    assert "causal_lm/decoder/block_0/attention/qkv/down" in paths(adapted)
    assert set(paths(model)) < set(paths(adapted)) and len(paths(adapted)) == len(paths(model)) + 2 * 2 * 2
    np.testing.assert_allclose(adapted({TOKEN_IDS: IDS}), model({TOKEN_IDS: IDS}), atol=1e-6)
    for variable in adapted.variables:
        variable.trainable = variable.path.endswith(("/down", "/up"))
    adapted.compile(adamw(0.01, weight_decay=0.0))
    batch = {TOKEN_IDS: IDS, TARGET_IDS: tf.roll(IDS, -1, 1), TARGET_WEIGHTS: tf.ones(IDS.shape)}
    losses = adapted.fit(tf.data.Dataset.from_tensors(batch).repeat(), steps_per_epoch=1, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 0.1
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    again = replace_layers(adapted, lambda layer, path: None)
    np.testing.assert_array_equal(again({TOKEN_IDS: IDS}), adapted({TOKEN_IDS: IDS}))
    [expected] = tfllm.generate(adapted, TOKENIZER, "def f(", max_new_tokens=8)
    [other] = tfllm.generate(model, TOKENIZER, "def f(", max_new_tokens=8)
    assert np.abs(np.subtract(expected.log_probs, other.log_probs)).max() > 0.01
    served = tf.saved_model.load(str(tfllm.export(adapted, TOKENIZER, tmp_path / "model", max_new_tokens=8)))
    [text] = served.signatures["serving_default"](prompt=tf.constant(["def f("]))["text"].numpy()
    assert text.decode(errors="replace") == expected.text
    [small] = tfllm.generate(tfllm.for_inference(adapted, quantize="int8"), TOKENIZER, "def f(", max_new_tokens=1)
    np.testing.assert_allclose(small.log_probs[0], expected.log_probs[0], atol=0.3)


def test_a_tied_head_reads_the_new_models_table():
    model = causal(tied_embeddings=True)
    table = model.stack.token_embedding

    def rule(layer, path):
        if layer is table:
            new = type(layer).from_config(layer.get_config())
            new.build()
            return new
        return None

    other = replace_layers(model, rule)
    other.stack.token_embedding.embeddings.assign(-table.embeddings.value)
    hidden = tf.random.stateless_normal([1, 2, model.config.hidden_size], [1, 2])
    np.testing.assert_array_equal(other.logits(hidden), -model.logits(hidden))


def test_matrices_are_cast_once_a_graph():
    config = tfllm.preset("gpt2-tiny", vocab_size=300, num_layers=1)
    model = tfllm.CausalLM(config, dtype="mixed_bfloat16", seed=1)

    @tf.function(autograph=False)
    def logits(ids):
        cast = cast_matrices(model)
        assert cast is not model and cast_matrices(cast) is cast
        return cast({TOKEN_IDS: ids}), cast({TOKEN_IDS: ids})

    for found in logits(IDS):
        np.testing.assert_allclose(found, model({TOKEN_IDS: IDS}), atol=2e-2)
    casts = [op for op in logits.get_concrete_function(IDS).graph.get_operations() if op.type == "Cast"]
    assert len([op for op in casts if op.inputs[0].shape.rank == 2 and op.inputs[0].op.type == "ReadVariableOp"]) == 4 + 1
    plain = tfllm.CausalLM(config, seed=1)
    assert cast_matrices(plain) is plain and cast_matrices(None) is None


def test_a_model_can_be_freed_and_its_layers_live_on_in_another():
    model = causal()
    expected = model({TOKEN_IDS: IDS})
    adapted = replace_layers(model, with_lora)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    np.testing.assert_allclose(adapted({TOKEN_IDS: IDS}), expected, atol=1e-6)


def test_a_vocabulary_head_is_tied_or_is_not():
    head = VocabularyHead(4, 10, tied=True, stddev=0.1)
    with pytest.raises(AssertionError, match="a tied head takes an embedding"):
        head(tf.zeros([1, 4]))
