"""One forward pass: cached decoding, packed rows and bfloat16 say what the plain pass says."""

import numpy as np
import pytest
import tensorflow as tf
from families import FAMILIES, strong, tokens

import tfllm
from tfllm.layers import dot_product_attention
from tfllm.models import CausalLM

WITHIN = 1e-4


@pytest.fixture(scope="module", params=FAMILIES)
def model(request) -> CausalLM:
    return strong(FAMILIES[request.param])


def test_weights_are_strong_enough_to_tell(model):
    """Else all comparisons below would hold whatever the model did."""
    ids = tokens(model.config, 2, 11)
    logits = model({"token_ids": ids}).numpy()
    assert logits.dtype == np.float32 and logits.shape == (2, 11, 41) and logits.std() > 0.5
    other = ids.copy()
    other[:, 7] = (other[:, 7] + 1) % 41
    changed = np.abs(model({"token_ids": other}).numpy() - logits).max((0, 2))
    assert (changed[:7] == 0).all(), "what comes later must not be seen"
    assert (changed[7:] > 0.01).all(), "what came before must be"


@pytest.mark.parametrize("chunks", [[1] * 11, [4, 1, 5, 1], [11]], ids=["by token", "by chunk", "at once"])
def test_cached_decoding_equals_the_full_pass(model, chunks):
    ids = tokens(model.config, 2, 11)
    expected = model({"token_ids": ids}).numpy()
    cache, start, said = model.new_cache(2, 13), 0, []
    for size in chunks:
        logits, cache = model({"token_ids": ids[:, start : start + size]}, cache=cache)
        said.append(logits.numpy())
        start += size
    assert int(cache.length) == 11
    np.testing.assert_allclose(np.concatenate(said, 1), expected, atol=WITHIN)


def test_ragged_prompts_go_on_as_if_alone(model):
    """Prompts of 6, 3 and 1 tokens padded on the right with any token, read in two chunks, then five tokens each."""
    lengths, count = [6, 3, 1], 5
    ids = tokens(model.config, 3, 6 + count, seed=1)
    places = np.arange(6)[None] * np.ones([3, 1], np.int32)
    real = places < np.array(lengths)[:, None]
    prompts = {
        "token_ids": ids[:, :6],
        "positions": np.where(real, places, 0).astype(np.int32),
        "segment_ids": real.astype(np.int32),
    }
    cache, read = model.new_cache(3, 6 + count), []
    for part in (slice(0, 4), slice(4, 6)):
        logits, cache = model({name: value[:, part] for name, value in prompts.items()}, cache=cache)
        read.append(logits.numpy())
    said = [[each] for each in np.concatenate(read, 1)]
    for i in range(count):
        step = {"token_ids": ids[:, 6 + i : 7 + i], "positions": np.array(lengths, np.int32)[:, None] + i}
        logits, cache = model(step, cache=cache)
        for row in range(3):
            said[row].append(logits.numpy()[row])
    for row, length in enumerate(lengths):
        alone = np.concatenate([ids[row, :length], ids[row, 6:]])[None]
        expected = model({"token_ids": alone}).numpy()[0]
        prompt, continued = said[row][0][:length], np.concatenate(said[row][1:])
        np.testing.assert_allclose(np.concatenate([prompt, continued]), expected, atol=WITHIN)


def test_packed_documents_are_as_if_alone(model):
    ids = tokens(model.config, 1, 12, seed=2)
    packed = {
        "token_ids": ids,
        "segment_ids": np.array([[1] * 5 + [2] * 4 + [3] + [0] * 2], np.int32),
        "positions": np.array([[*range(5), *range(4), 0, 0, 0]], np.int32),
    }
    together = model(packed).numpy()[0]
    for part in (slice(0, 5), slice(5, 9), slice(9, 10)):
        np.testing.assert_allclose(together[part], model({"token_ids": ids[:, part]}).numpy()[0], atol=WITHIN)
    run_on = model({"token_ids": ids}).numpy()[0]
    assert np.abs(run_on[5:9] - together[5:9]).max() > 0.1, "the documents would matter to each other"


def test_some_tokens_only_are_what_they_are_among_all(model):
    ids, places = tokens(model.config, 2, 11), tf.constant([[10, 0, 4], [3, 3, 7]])
    packed = {"token_ids": ids, "segment_ids": np.array([[1] * 11, [1] * 5 + [2] * 4 + [0] * 2], np.int32)}
    packed |= {"positions": np.array([[*range(11)], [*range(5), *range(4), 0, 0]], np.int32)}
    for features in ({"token_ids": ids}, packed):
        expected = tf.gather(model.stack(features).last_hidden_state, places, batch_dims=1)
        np.testing.assert_allclose(model.stack(features, output_positions=places).last_hidden_state, expected, atol=WITHIN)
        read, cache, *_ = model.stack(features, cache=model.new_cache(2, 12), output_positions=places)
        np.testing.assert_allclose(read, expected, atol=WITHIN)
        after = {"token_ids": ids[:, :1], "positions": np.full([2, 1], 11, np.int32), "segment_ids": np.ones([2, 1], np.int32)}
        whole = model.stack(features, cache=model.new_cache(2, 12)).cache
        np.testing.assert_allclose(model(after, cache=cache)[0], model(after, cache=whole)[0], atol=WITHIN)


def test_a_row_attends_alike_in_blocks(model, monkeypatch):
    ids = tokens(model.config, 1, 12, seed=2)
    segments = np.array([[1] * 5 + [2] * 4 + [3] + [0] * 2], np.int32)
    packed = {"token_ids": ids, "segment_ids": segments, "positions": np.array([[*range(5), *range(4), 0, 0, 0]], np.int32)}
    at_once = model(packed).numpy()
    monkeypatch.setattr(dot_product_attention, "BLOCK", 3)
    np.testing.assert_allclose(model(packed)[:, :10], at_once[:, :10], atol=WITHIN)


def test_bfloat16_is_near(model):
    half = strong(model.config, dtype="mixed_bfloat16")
    assert {variable.dtype for variable in half.variables} == {"float32"}
    ids = tokens(model.config, 2, 11)
    exact, rough = model({"token_ids": ids}).numpy(), half({"token_ids": ids}).numpy()
    assert half.stack({"token_ids": ids}).last_hidden_state.dtype == tf.bfloat16 and rough.dtype == np.float32
    assert 1e-4 < np.sqrt(np.square(rough - exact).mean()) / exact.std() < 0.04
    cache, said = half.new_cache(2, 11), []
    assert cache.keys[0].dtype == tf.bfloat16
    for part in (slice(0, 7), slice(7, 8), slice(8, 11)):
        logits, cache = half({"token_ids": ids[:, part]}, cache=cache)
        said.append(logits.numpy())
    assert np.sqrt(np.square(np.concatenate(said, 1) - rough).mean()) / exact.std() < 0.04


def test_in_a_graph_of_unknown_sizes(model):
    spec = {name: tf.TensorSpec([None, None], tf.int32) for name in ("token_ids", "positions", "segment_ids")}
    ids = tokens(model.config, 2, 9)
    features = {"token_ids": ids, "positions": np.arange(9, dtype=np.int32)[None].repeat(2, 0)}
    features |= {"segment_ids": np.ones([2, 9], np.int32)}
    logits = tf.function(model.__call__, input_signature=[spec])({k: tf.constant(v) for k, v in features.items()})
    np.testing.assert_allclose(logits, model({"token_ids": ids}), atol=1e-5)


def test_the_cache_goes_through_a_while_loop():
    model = strong(FAMILIES["llama"])
    ids = tf.constant(tokens(model.config, 2, 11))

    @tf.function
    def by_token(ids):
        def body(i, cache, said):
            logits, cache = model({"token_ids": tf.gather(ids, [i], axis=1)}, cache=cache)
            return i + 1, cache, said.write(i, logits[:, 0])

        start = (0, model.new_cache(2, 11), tf.TensorArray(tf.float32, 11))
        _, cache, said = tf.while_loop(lambda i, *_: i < 11, body, start)
        return tf.transpose(said.stack(), [1, 0, 2]), cache.length

    logits, length = by_token(ids)
    np.testing.assert_allclose(logits, model({"token_ids": ids}), atol=WITHIN)
    assert int(length) == 11


def test_remat_says_the_same():
    model = strong(FAMILIES["llama"])
    again = strong(FAMILIES["llama"].replace(remat=True))
    ids = tokens(model.config, 2, 9)
    np.testing.assert_array_equal(again({"token_ids": ids}), model({"token_ids": ids}))


def test_vectors_may_come_from_elsewhere(model):
    """What `embed` gives, run through the blocks, is the model; a prompt of other vectors stands before it."""
    ids = tokens(model.config, 2, 7)
    embedded = model.stack.embed({"token_ids": ids})
    np.testing.assert_array_equal(
        model.stack.run(embedded).last_hidden_state, model.stack({"token_ids": ids}).last_hidden_state
    )
    known = model.stack.embed({"token_ids": ids[:, :3]})
    later = model.stack.embed({"token_ids": ids[:, 3:]}, positions=tf.range(3, 7)[None])
    joined = model.stack.run(tf.concat([known, later], 1)).last_hidden_state
    np.testing.assert_allclose(model.logits(joined), model({"token_ids": ids}), atol=WITHIN)


def test_attention_map(model):
    ids = tokens(model.config, 2, 7)
    picture = model({"token_ids": ids}, output_attentions=True).attentions[1].numpy()
    assert picture.shape == (2, 4, 7, 7) and picture.dtype == np.float32
    np.testing.assert_allclose(picture.sum(-1), 1, atol=1e-5)
    assert (np.triu(picture, 1) == 0).all()
    if model.config.sliding_window:
        assert (np.tril(picture, -model.config.sliding_window) == 0).all()


def test_learned_positions_end_at_max_length():
    model = CausalLM(FAMILIES["gpt2"])
    with pytest.raises(ValueError, match="a row of 33 tokens is longer than max_length=32"):
        model({"token_ids": tokens(model.config, 1, 33)})
    rotary = CausalLM(FAMILIES["llama"])
    assert rotary({"token_ids": tokens(rotary.config, 1, 33)}).shape == (1, 33, 41)


def test_sinusoids_are_a_table_that_is_not_learned():
    """The model with learned positions, its table filled by the paper's formula, says the same."""
    model, learned = strong(FAMILIES["sinusoidal"]), strong(FAMILIES["gpt2"].replace(activation="relu"))
    angles = np.arange(32)[:, None] / 10_000 ** (np.arange(0, 24, 2) / 24)
    named = {variable.path: variable for variable in model.variables}
    for variable in learned.variables:
        if variable.path in named:
            variable.assign(named[variable.path])
    table = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(32, 24)
    learned.stack.position_embedding.embeddings.assign(table)
    ids = tokens(model.config, 2, 11)
    np.testing.assert_allclose(model({"token_ids": ids}), learned({"token_ids": ids}), atol=1e-5)


@pytest.mark.parametrize("known", [True, False])
def test_a_row_that_learned_positions_do_not_reach(known: bool) -> None:
    """Its length and the model's are said, where the graph knows the length and where it does not; as advised, it is read."""
    model = tfllm.CausalLM(tfllm.preset("gpt2-tiny", vocab_size=9, max_length=16, num_layers=1, hidden_size=8, num_heads=2))
    model.compile(tfllm.train.adamw(1e-3))

    def rows(length: int) -> tf.data.Dataset:
        batch = {name: np.ones([2, length], np.int32) for name in ("token_ids", "target_ids")}
        batch["target_weights"] = np.ones([2, length], np.float32)
        if known:
            return tf.data.Dataset.from_tensors(batch)
        signature = {name: tf.TensorSpec([None, None], value.dtype) for name, value in batch.items()}
        return tf.data.Dataset.from_generator(lambda: iter([batch] * 2), output_signature=signature)

    message = (
        r"a row of 20 tokens is longer than max_length=16, where learned positions end: cut the rows there, by max_length=16"
    )
    with pytest.raises(ValueError, match=message if known else f"^step 0: {message}"):
        model.fit(rows(20), verbose=0)
    with pytest.raises(ValueError, match=message if known else f"^{message}"):
        model.evaluate(rows(20), verbose=0)
    with pytest.raises(ValueError, match=message):
        model({"token_ids": np.ones([1, 20], np.int32)})
    model.fit(rows(16), steps_per_epoch=1, verbose=0)
    with pytest.raises(ValueError, match=r"an id of the batch is out of range \(.* = 9 is not in \[0, 9\)\)"):
        model.evaluate(rows(16).map(lambda batch: batch | {"token_ids": batch["token_ids"] * 9}), verbose=0)
