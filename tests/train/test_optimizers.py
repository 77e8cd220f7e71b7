import contextlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.layers import fused
from tfllm.train.optimizers import adamw, lion, muon, orthogonalize
from tfllm.train.schedules import schedule

SHAPES = {"token_embedding": (7, 4), "kernel": (4, 6), "bias": (6,)}


def make_variables(shapes=None, seed=0):
    random = np.random.default_rng(seed)
    return [
        keras.Variable(random.normal(size=shape).astype("float32"), name=name) for name, shape in (shapes or SHAPES).items()
    ]


def make_gradients(steps, shapes=None, seed=1):
    random = np.random.default_rng(seed)
    return [[random.normal(size=s).astype("float32") for s in (shapes or SHAPES).values()] for _ in range(steps)]


def run(optimizer, gradients, variables=None):
    variables = variables or make_variables()
    optimizer.build(variables)
    return go_on(optimizer, gradients, variables)


def go_on(optimizer, gradients, variables):
    def apply(*gradients):
        optimizer.compiled = True
        optimizer.apply(gradients)

    step = tf.function(apply)
    for gradient in gradients:
        step(*[tf.constant(g) for g in gradient])
    return [v.numpy() for v in variables]


def numpy_clip(gradient, norm):
    total = np.sqrt(sum(np.sum(np.square(g, dtype="float64")) for g in gradient))
    return [np.float64(g) * min(1.0, norm / total) for g in gradient]


def numpy_adamw(gradients, rate, decay, beta_1, beta_2, epsilon, clip=None):
    """torch.optim.AdamW, spelt out in float64; `rate` is a function of the step."""
    weights = [np.float64(v.numpy()) for v in make_variables()]
    m, v = [0.0] * len(weights), [0.0] * len(weights)
    for t, gradient in enumerate(gradients, start=1):
        for i, g in enumerate(numpy_clip(gradient, clip) if clip else map(np.float64, gradient)):
            if weights[i].ndim > 1:
                weights[i] = weights[i] * (1 - rate(t - 1) * decay)
            m[i] = beta_1 * m[i] + (1 - beta_1) * g
            v[i] = beta_2 * v[i] + (1 - beta_2) * g * g
            unbiased = np.sqrt(v[i] / (1 - beta_2**t)) + epsilon
            weights[i] = weights[i] - rate(t - 1) * m[i] / (1 - beta_1**t) / unbiased
    return weights


def assert_close(got, wanted, atol):
    for left, right in zip(got, wanted, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=atol)


def test_adamw_first_step_by_hand():
    variable = keras.Variable([[2.0]], name="kernel")
    optimizer = adamw(0.1, weight_decay=0.5, beta_1=0.9, beta_2=0.99, epsilon=1.0, clip_norm=None)
    optimizer.build([variable])
    optimizer.apply([tf.constant([[3.0]])])
    # Decay: 2 * (1 - 0.05) = 1.9. The unbiased moments of one gradient are 3 and 9: 1.9 - 0.1 * 3 / (3 + 1).
    assert float(variable[0, 0]) == pytest.approx(1.825, abs=1e-6)


@pytest.fixture(params=[False, True], ids=["op by op", "compiled"])
def compiled(request, monkeypatch):
    monkeypatch.setattr(fused, "MIN_ELEMENTS", 0 if request.param else 1 << 40)


# A large epsilon tells the paper's convention from Keras'.
@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("epsilon", [1e-8, 0.1])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_adamw_is_the_papers_for_200_steps(epsilon, clip):
    curve = schedule("cosine", peak=0.01, steps=200, warmup_steps=20)
    gradients = make_gradients(200)
    optimizer = adamw(curve, weight_decay=0.1, beta_2=0.999, epsilon=epsilon, clip_norm=clip)
    got = run(optimizer, gradients)
    wanted = numpy_adamw(gradients, lambda step: float(curve(step)), 0.1, 0.9, 0.999, epsilon, clip)
    assert_close(got, wanted, atol=3e-6)


def test_adamw_is_keras_adamw_where_epsilon_does_not_count():
    gradients = make_gradients(100)
    theirs = keras.optimizers.AdamW(1e-2, weight_decay=0.1, beta_2=0.95, epsilon=1e-12, global_clipnorm=2.0)
    theirs.exclude_from_weight_decay(var_names=["bias"])
    ours = adamw(1e-2, weight_decay=0.1, epsilon=1e-12, clip_norm=2.0)
    assert_close(run(ours, gradients), run(theirs, gradients), atol=3e-6)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(("decay_embeddings", "shrunk"), [(True, [True, True, False]), (False, [False, True, False])])
@pytest.mark.parametrize("make", [adamw, muon, lion])
def test_decay_spares_low_ranks_and_embeddings_if_asked(make, decay_embeddings, shrunk):
    before = [v.numpy() for v in make_variables()]
    optimizer = make(0.1, weight_decay=0.5, clip_norm=None, decay_embeddings=decay_embeddings)
    after = run(optimizer, [[np.zeros_like(v) for v in before]])
    assert_close(after, [v * (0.95 if s else 1.0) for v, s in zip(before, shrunk, strict=True)], atol=1e-6)


@pytest.mark.usefixtures("compiled")
def test_lion_is_numpys_and_keras():
    gradients = make_gradients(50)
    weights = [np.float64(v.numpy()) for v in make_variables()]
    m = [np.zeros_like(w) for w in weights]
    for gradient in gradients:
        for i, g in enumerate(numpy_clip(gradient, 1.0)):
            decay = 1.0 if weights[i].ndim > 1 else 0.0
            weights[i] = weights[i] * (1 - 0.003 * decay) - 0.003 * np.sign(0.9 * m[i] + 0.1 * g)
            m[i] = 0.99 * m[i] + 0.01 * g
    assert_close(run(lion(0.003), gradients), weights, atol=1e-5)
    theirs = keras.optimizers.Lion(0.003, weight_decay=1.0, global_clipnorm=1.0)
    theirs.exclude_from_weight_decay(var_names=["bias"])
    assert_close(run(lion(0.003), gradients), run(theirs, gradients), atol=1e-5)


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (48, 16)])
@pytest.mark.parametrize(("dtype", "slack"), [("float32", 1e-3), ("bfloat16", 0.05)])
def test_orthogonalize_keeps_singular_vectors_and_levels_values(shape, dtype, slack):
    matrix = np.random.default_rng(0).normal(size=shape)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    got = tf.cast(orthogonalize(tf.constant(matrix, dtype)), tf.float64).numpy()
    level = u.T @ got @ vt.T
    kept = s / np.linalg.norm(matrix) > 0.01
    assert kept.sum() >= 16
    values = np.diag(level)[kept]
    assert values.min() > 0.68 - slack and values.max() < 1.14 + slack
    np.testing.assert_allclose(level - np.diag(np.diag(level)), 0.0, atol=max(slack, 2e-3))


def exact_muon_step(weight, gradients, rate, decay, momentum=0.95):
    """The same step with numpy's SVD in place of the iteration."""
    total = 0.0
    for gradient in gradients:
        total = momentum * total + gradient
        u, _, vt = np.linalg.svd(gradient + momentum * total, full_matrices=False)
        weight = weight * (1 - rate * decay) - rate * 0.2 * np.sqrt(max(weight.shape)) * (u @ vt)
    return weight


def test_muon_orthogonalises_each_logical_matrix():
    shapes = {"qkv": (8, 16)}
    gradients = make_gradients(5, shapes)
    for gradient in gradients:
        gradient[0][:, 8:12] *= 100  # would drown the others in one common matrix
    (variable,) = make_variables(shapes)
    before = np.float64(variable.numpy())
    variable.logical_widths = (8, 4, 4)
    (after,) = run(muon(0.01, clip_norm=None), gradients, [variable])
    for part in (slice(0, 8), slice(8, 12), slice(12, 16)):
        exact = exact_muon_step(before[:, part], [g[0][:, part] for g in gradients], 0.01, 0.1) - before[:, part]
        got = after[:, part] - before[:, part]
        assert np.sum(got * exact) / np.linalg.norm(got) / np.linalg.norm(exact) > 0.97
        assert 0.7 < np.linalg.norm(got) / np.linalg.norm(exact) < 1.13


@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (20, 80)])
def test_muon_moves_a_weight_by_a_fifth_of_the_learning_rate(shape):
    shapes = {"kernel": shape}
    (before,), (after,) = (
        make_variables(shapes),
        run(muon(0.01), make_gradients(1, shapes), make_variables(shapes)),
    )
    moved = after - before.numpy() * (1 - 0.01 * 0.1)
    assert 0.68 < np.sqrt(np.mean(np.square(moved))) / (0.2 * 0.01) < 1.14


def test_muon_leaves_embeddings_head_and_vectors_to_adamw():
    layers = {"token_embedding": (7, 4), "head": (4, 7), "multi_head": (4, 4), "scale": (4,)}
    variables = []
    for layer, shape in layers.items():
        with keras.name_scope(layer):
            variables.append(keras.Variable(np.ones(shape, "float32"), name="kernel"))
    optimizer = muon(0.01)
    optimizer.build(variables)
    with_velocity = [v.path for v in optimizer.variables if v.path.endswith("velocity")]
    paths = [f"muon/{layer}_kernel_velocity" for layer in ("token_embedding", "head", "scale")]
    assert with_velocity == paths


def test_muon_refuses_widths_that_do_not_fit():
    variable = keras.Variable(np.ones((4, 6), "float32"), name="kernel")
    variable.logical_widths = (4, 4)
    with pytest.raises(ValueError, match=r"kernel.logical_widths=\(4, 4\) is invalid: expected widths that sum to 6"):
        muon(0.01).build([variable])


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (adamw, {"beta_1": 0.8, "beta_2": 0.7, "epsilon": 0.1}),
        (muon, {"beta_1": 0.8, "momentum": 0.5, "newton_schulz_steps": 2, "newton_schulz_dtype": "bfloat16"}),
        (muon, {"adam_paths": ["kernel"]}),
        (lion, {"beta_1": 0.8, "beta_2": 0.7}),
    ],
)
def test_config_round_trip_goes_on_the_same(make, arguments):
    curve = schedule("linear", peak=0.01, steps=10, warmup_steps=2)
    optimizer = make(curve, weight_decay=0.2, ema=0.9, clip_norm=None, decay_embeddings=False, **arguments)
    config = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    again = keras.optimizers.deserialize(config)
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    assert {name: getattr(again, name) for name in arguments} == arguments
    assert (again.weight_decay, again.ema, again.clip_norm, again.decay_embeddings) == (0.2, 0.9, None, False)
    gradients = make_gradients(5)
    for left, right in zip(run(optimizer, gradients), run(again, gradients), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("make", [adamw, muon, lion])
def test_all_state_is_in_variables_under_lasting_names(make):
    gradients = make_gradients(6)
    straight, variables = make(0.01, ema=0.9), make_variables()
    wanted = run(straight, gradients, variables)

    first, halfway = make(0.01, ema=0.9), make_variables()
    weights = run(first, gradients[:3], halfway)
    state = {v.path: v.numpy() for v in first.variables}
    assert len(state) == len(first.variables)
    second, resumed = make(0.01, ema=0.9), make_variables(seed=9)
    second.build(resumed)
    assert [v.path for v in second.variables] == list(state)
    for variable, value in zip(resumed, weights, strict=True):
        variable.assign(value)
    for variable in second.variables:
        variable.assign(state[variable.path])
    got = go_on(second, gradients[3:], resumed)
    for left, right in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(left, right)
    for left, right in zip(second.variables, straight.variables, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (adamw, {"learning_rate": -1e-3}, "learning_rate=-0.001 is invalid: expected a finite number >= 0"),
        (adamw, {"learning_rate": float("nan")}, "learning_rate=nan"),
        (adamw, {"weight_decay": -0.1}, "weight_decay=-0.1"),
        (adamw, {"beta_1": 1.0}, "beta_1=1.0 is invalid: expected 0 <= beta_1 < 1"),
        (adamw, {"beta_2": -0.1}, "beta_2=-0.1"),
        (adamw, {"epsilon": 0.0}, "epsilon=0.0"),
        (adamw, {"clip_norm": 0.0}, "clip_norm=0.0 is invalid: expected a number > 0, or None"),
        (adamw, {"ema": 1.0}, "ema=1.0"),
        (lion, {"beta_2": 1.5}, "beta_2=1.5"),
        (muon, {"momentum": 1.0}, "momentum=1.0"),
        (muon, {"beta_2": 1.5}, "beta_2=1.5"),
        (muon, {"newton_schulz_steps": 0}, "newton_schulz_steps=0"),
        (
            muon,
            {"newton_schulz_dtype": "float16"},
            "newton_schulz_dtype='float16' is invalid: expected auto, float32 or bfloat16",
        ),
    ],
)
def test_nonsense_is_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**{"learning_rate": 0.1, **arguments})


def test_lower_layers_learn_more_slowly():
    names = ("encoder/token_embedding", "encoder/embedding_norm", "encoder/block_0/up", "encoder/block_11/up", "head")
    variables = []
    for name in names:
        with contextlib.ExitStack() as scopes:
            for part in name.split("/"):
                scopes.enter_context(keras.name_scope(part))
            variables.append(keras.Variable(np.ones((2, 2), "float32"), name="kernel"))
    optimizer = adamw(0.1, weight_decay=0.5, layer_decay=0.5, clip_norm=None)
    optimizer.build(variables)
    optimizer.apply([tf.ones((2, 2))] * len(variables), variables)
    moved = [1 - float(variable.value[0, 0]) for variable in variables]
    rates = [0.1 * 0.5**depth for depth in (13, 13, 12, 1, 0)]
    np.testing.assert_allclose(moved, [0.5 * rate + rate for rate in rates], rtol=1e-4, atol=1e-7)
