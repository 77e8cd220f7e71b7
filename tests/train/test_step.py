"""The training step: exact sums, seeds, accumulation, rematerialisation, XLA, and the refusal of what is not finite."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.config import ModelConfig
from tfllm.features import TARGET_IDS
from tfllm.models import CausalLM
from tfllm.train import chunked_cross_entropy, trainable_model
from tfllm.train.gradients import LossAndMetrics, compute_gradients
from tfllm.train.step_errors import NonFiniteError
from tfllm.train.trainable_model import TrainableModel

VOCAB, ROWS, LENGTH = 23, 8, 6
CONFIG = ModelConfig(
    **dict(vocab_size=VOCAB, max_length=LENGTH, num_layers=1, hidden_size=12, num_heads=2, ffn_size=20),
    initializer_range=0.2,
)
DROPPING = CONFIG.replace(dropout=0.3, attention_dropout=0.2)


def examples(steps: int) -> dict[str, np.ndarray]:
    """Batches one after the other, with weights so uneven that a mean of means is far off; some rows weigh nothing."""
    random = np.random.default_rng(0)
    shape = (steps * ROWS, LENGTH)
    weights = random.uniform(0, 1, shape) * random.choice([0, 0.1, 5], (shape[0], 1))
    return {
        "token_ids": random.integers(0, VOCAB, shape).astype(np.int32),
        "target_ids": random.integers(0, VOCAB, shape).astype(np.int32),
        "target_weights": weights.astype(np.float32),
    }


def dataset(steps: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(examples(steps)).batch(ROWS, drop_remainder=True)


def one_batch() -> dict[str, tf.Tensor]:
    return {name: tf.constant(value) for name, value in examples(1).items()}


def compiled(config: ModelConfig = CONFIG, *, rate: float = 0.1, dtype: str = "float32", **settings) -> CausalLM:
    model = CausalLM(config, dtype=dtype)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), **settings)
    return model


def trained(config: ModelConfig = CONFIG, *, steps: int = 4, **settings) -> tuple[list[float], list[np.ndarray]]:
    """Every step's loss (each its own epoch) and the last weights."""
    model = compiled(config, **settings)
    history = model.fit(dataset(8), epochs=steps, steps_per_epoch=1, verbose=0).history
    return history["loss"], [np.asarray(variable) for variable in model.trainable_variables]


def assert_close(ours: list[np.ndarray], theirs: list[np.ndarray], within: float) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=within * max(np.abs(other).max(), 1e-3))


def assert_same(ours: list, theirs: list) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def plainly_trained() -> tuple[list[float], list[np.ndarray]]:
    return trained()


@pytest.fixture(scope="module")
def dropping_trained() -> tuple[list[float], list[np.ndarray]]:
    """Eight steps with dropout."""
    return trained(DROPPING, steps=8)


def test_an_update_is_by_the_mean_over_tokens():
    """One step of plain descent, rate 1, against the gradient of sum(weight * nats) / sum(weight) of the logits."""
    model = compiled()
    before = [np.asarray(variable) for variable in model.trainable_variables]
    batch = one_batch()
    with tf.GradientTape() as tape:
        log_p = tf.nn.log_softmax(model(batch))
        nats = -tf.gather(log_p, batch["target_ids"], batch_dims=2)
        loss = tf.reduce_sum(nats * batch["target_weights"]) / tf.reduce_sum(batch["target_weights"])
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    model.compile(keras.optimizers.SGD(1.0))
    history = model.fit(dataset(1), verbose=0).history
    moved = [old - np.asarray(new) for old, new in zip(before, model.trainable_variables, strict=True)]
    assert_close(moved, [tf.convert_to_tensor(gradient).numpy() for gradient in gradients], 1e-5)
    assert history["loss"][0] == pytest.approx(float(loss), rel=1e-6)
    norm = np.sqrt(sum(np.square(tf.convert_to_tensor(gradient)).sum() for gradient in gradients))
    assert history["gradient_norm"][0] == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("config", [CONFIG, DROPPING], ids=["plain", "dropping"])
def test_accumulation_changes_nothing(config):
    (said, weights), (undivided, theirs) = (trained(config, gradient_accumulation=count) for count in (4, 1))
    np.testing.assert_allclose(said, undivided, rtol=1e-6)
    assert_close(weights, theirs, 2e-6)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_variable_that_the_loss_does_not_know_has_a_gradient_of_zero(parts):
    """A pooler that nothing asks, say: the optimizer takes a gradient for each variable."""
    used, unused = keras.Variable([2.0]), keras.Variable([[3.0, 4.0]])

    def objective(features):
        return LossAndMetrics(tf.reduce_sum(features["x"] * used.value), tf.cast(tf.size(features["x"]), tf.float32), {})

    found, said = compute_gradients(
        objective, [used, unused], {"x": tf.constant([[1.0], [5.0]])}, num_microbatches=parts, mean=False
    )
    assert [gradient.numpy().tolist() for gradient in found] == [[6.0], [[0.0, 0.0]]]
    assert (float(said.loss), float(said.weight)) == (12.0, 2.0)


def test_every_row_has_dropout_of_its_own():
    model = compiled(DROPPING)
    alike = {name: tf.repeat(value[1:2], 2, 0) for name, value in one_batch().items()} | {
        "target_weights": tf.ones([2, LENGTH])
    }
    losses = [float(model._gradients(alike | {"dropout_seed": tf.constant(seeds)})[1].loss) for seeds in ([5, 5], [5, 6])]
    assert abs(losses[0] - losses[1]) > 0.01 * losses[0]


def test_a_batch_that_cannot_be_split_is_refused():
    model = compiled(gradient_accumulation=3)
    with pytest.raises(ValueError, match=r"gradient_accumulation=3 does not divide the batch: \w+ has 8 rows"):
        model.fit(dataset(1), verbose=0)


def test_the_same_seed_repeats_a_run_bit_for_bit(dropping_trained):
    said, weights = trained(DROPPING, steps=8)
    assert said == dropping_trained[0]
    assert_same(weights, dropping_trained[1])


def test_another_seed_and_every_step_drop_others(dropping_trained):
    same_batch = dataset(8).take(1).repeat()
    still = compiled(DROPPING, rate=0.0, seed=1).fit(same_batch, epochs=3, steps_per_epoch=1, verbose=0)
    assert len({*still.history["loss"], dropping_trained[0][0]}) == 4


def test_a_run_without_a_graph_is_the_same_run(dropping_trained):
    said, _ = trained(DROPPING, steps=2, run_eagerly=True)
    np.testing.assert_allclose(said, dropping_trained[0][:2], rtol=1e-5)


def test_xla_is_near_with_the_same_dropout(monkeypatch, dropping_trained):
    monkeypatch.setattr(chunked_cross_entropy, "CHUNK_SCORES", 8 * VOCAB)
    said, weights = trained(DROPPING, steps=8, jit_compile=True)
    np.testing.assert_allclose(said, dropping_trained[0], rtol=1e-5)
    assert_close(weights, dropping_trained[1], 1e-4)


@pytest.mark.parametrize(
    ("gpu", "strategy", "settings", "xla"),
    [
        (True, tf.distribute.get_strategy, {}, True),
        (True, tf.distribute.get_strategy, {"run_eagerly": True}, False),
        (True, tf.distribute.get_strategy, {"jit_compile": False}, False),
        (True, lambda: tf.distribute.OneDeviceStrategy("CPU:0"), {}, False),
        (True, lambda: tf.distribute.MirroredStrategy(["CPU:0"]), {}, True),
        (False, tf.distribute.get_strategy, {}, False),
    ],
)
def test_xla_is_for_a_single_gpu(monkeypatch, gpu, strategy, settings, xla):
    monkeypatch.setattr(trainable_model, "has_gpu", lambda: gpu)
    with strategy().scope():
        model = compiled(**settings)
    assert model.training_settings["jit_compile"] is xla
    assert isinstance(model._run_gradients, tf.types.experimental.PolymorphicFunction) is xla


@pytest.mark.parametrize("given", ["Auto", None, 1])
def test_xla_is_asked_for_by_name(given):
    with pytest.raises(ValueError, match=rf"jit_compile={given!r} is invalid: expected True, False or 'auto'"):
        compiled(jit_compile=given)


def test_several_steps_at_once_are_the_same_steps(dropping_trained):
    model = compiled(DROPPING, steps_per_execution=4)
    model.fit(dataset(8), verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 8
    assert_same(model.trainable_variables, dropping_trained[1])


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_epoch_is_finished_where_it_was_left(dropping_trained, at_once):
    """Two epochs of four steps, left after the second step."""
    model = compiled(DROPPING, steps_per_execution=at_once)
    model.fit(dataset(8), steps_per_epoch=2, verbose=0)
    model.resume_inside_epoch(2)
    seen = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: seen.append(step))
    model.fit(dataset(8).repeat().skip(2), epochs=2, steps_per_epoch=4, verbose=0, callbacks=[note])
    assert seen == ([0, 1, 2, 3] * 2 if at_once == 1 else [1, 3] * 2)
    assert int(model.optimizer.iterations.numpy()) == 8
    assert_same(model.trainable_variables, dropping_trained[1])


def test_steps_cannot_be_left_out_in_part():
    with pytest.raises(ValueError, match="left after 6 steps, which steps_per_execution=4 does not divide"):
        compiled(steps_per_execution=4).resume_inside_epoch(6)


def graphs_in(graph: tf.Graph) -> list[tf.Graph]:
    return [graph, *(each for function in graph._functions.values() for each in graphs_in(function.graph))]


def matrix_products(model: CausalLM) -> int:
    batch = one_batch() | {"dropout_seed": tf.range(ROWS)}
    step = tf.function(model._gradients).get_concrete_function(batch)
    return sum("MatMul" in op.type for graph in graphs_in(step.graph) for op in graph.get_operations())


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_rematerialisation_changes_nothing(dtype):
    """Bit for bit, outside a graph (within one, products are fused otherwise): the same dropout, the same precision."""
    plain, frugal = (compiled(DROPPING.replace(remat=remat, num_layers=2), dtype=dtype) for remat in (False, True))
    (gradients, said), (again, the_same) = (
        model._gradients(one_batch() | {"dropout_seed": tf.range(ROWS)}) for model in (plain, frugal)
    )
    assert float(said.loss) == float(the_same.loss)
    assert all(gradient.dtype == tf.float32 for gradient in gradients)
    assert_same(gradients, again)


def test_rematerialisation_computes_each_block_again():
    plain, frugal = (matrix_products(compiled(CONFIG.replace(remat=remat))) for remat in (False, True))
    assert frugal >= plain + 4


def test_bfloat16_trains_in_float32_weights():
    model = CausalLM(CONFIG.replace(remat=True), dtype="mixed_bfloat16")
    model.compile(keras.optimizers.Adam(0.02), gradient_accumulation=2)
    said = model.fit(dataset(1).repeat(), epochs=2, steps_per_epoch=60, verbose=0).history["loss"]
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert said[1] < 0.6 * said[0], "learnt by heart"


def test_what_is_not_finite_stops_the_run_before_the_update():
    model = compiled()
    kept = []

    def spoil(step, logs):
        if step == 1:
            model.stack.blocks[0].feedforward.up.kernel.assign_add(tf.fill([12, 20], np.float32(1e38)))
            kept.extend(np.asarray(variable) for variable in model.variables + model.optimizer.variables)

    with pytest.raises(NonFiniteError, match=r"step 2: the loss or the gradient is not finite .*start_step=2") as error:
        model.fit(dataset(4), verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=spoil)])
    assert re.search(r"the weights are those before it", str(error.value))
    assert_same(kept, model.variables + model.optimizer.variables)


@pytest.mark.parametrize("target", [-100, VOCAB])
def test_an_id_that_no_table_has_is_named(target):
    batch = next(iter(dataset(1)))
    spoilt = batch | {TARGET_IDS: tf.tensor_scatter_nd_update(batch[TARGET_IDS], [[0, 1]], [target])}
    with pytest.raises(ValueError, match=rf"step 0: an id .*= {target} is not in \[0, {VOCAB}\).* does not count has weight 0"):
        compiled().fit(tf.data.Dataset.from_tensors(spoilt), verbose=0)


@pytest.mark.parametrize("settings", [dict(steps_per_execution=4), dict(run_eagerly=True)], ids=str)
def test_the_step_is_named_however_steps_are_run(settings):
    model = compiled(rate=1e30, **settings)
    with pytest.raises(NonFiniteError, match=r"step 1: .*weights are those before it"):
        model.fit(dataset(4), verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 1


def test_other_errors_keep_their_name():
    def broken(features):
        with tf.control_dependencies([tf.debugging.Assert(tf.shape(features["token_ids"])[0] < 0, ["unreadable"])]):
            return features | {"token_ids": tf.identity(features["token_ids"])}

    with pytest.raises(tf.errors.InvalidArgumentError, match="unreadable"):
        compiled().fit(dataset(1).map(broken), verbose=0)


def test_fit_evaluate_and_predict_are_keras_own():
    model = compiled(rate=0.0, token_bytes=np.arange(VOCAB), label_smoothing=0.2)
    history = model.fit(dataset(3), validation_data=dataset(2), epochs=2, verbose=0).history
    names = {"loss", "perplexity", "accuracy", "bits_per_byte"}
    assert set(history) == names | {"gradient_norm"} | {f"val_{name}" for name in names}
    logits = model.predict(dataset(3), verbose=0)
    assert logits.shape == (3 * ROWS, LENGTH, VOCAB) and logits.dtype == np.float32
    given = examples(3)
    log_p = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
    nats = -np.take_along_axis(log_p, given["target_ids"][..., None], -1)[..., 0] * given["target_weights"]
    tokens = given["target_weights"].sum()
    bare, smoothed = nats.sum() / tokens, -(log_p.mean(-1) * given["target_weights"]).sum() / tokens
    assert history["loss"] == pytest.approx([0.8 * bare + 0.2 * smoothed] * 2, rel=1e-6)
    assert history["perplexity"][1] == pytest.approx(np.exp(bare), rel=1e-5)
    size = (given["target_ids"] * given["target_weights"]).sum()
    assert history["bits_per_byte"][1] == pytest.approx(nats.sum() / size / np.log(2), rel=1e-5)
    evaluated = model.evaluate(dataset(3), return_dict=True, verbose=0)
    trained_on = {name: history[name][1] for name in names}
    assert evaluated == pytest.approx(trained_on | {"loss": bare}, rel=1e-6), "evaluation does not smooth"
    assert history["val_loss"][0] == pytest.approx(model.evaluate(dataset(2), verbose=0)[0], rel=1e-6)


def test_a_batch_that_counts_nothing_moves_nothing():
    model = compiled()
    before = [np.asarray(variable) for variable in model.variables]
    batch = {name: value[None] for name, value in examples(1).items()} | {"target_weights": np.zeros([1, 8, 6], np.float32)}
    assert model.fit(tf.data.Dataset.from_tensor_slices(batch), verbose=0).history["loss"] == [0]
    assert_same(before, model.variables)


def test_a_task_must_say_its_objective_and_metrics():
    with pytest.raises(NotImplementedError, match="TrainableModel has no build_metrics"):
        TrainableModel().compile(keras.optimizers.SGD())
    with pytest.raises(NotImplementedError, match="TrainableModel has no loss_and_metrics"):
        TrainableModel().loss_and_metrics({}, training=True)
