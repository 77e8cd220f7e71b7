"""A batch as users write it, in the vocabulary of `tfllm.features`: literal values before and after, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tfllm.train.array_inputs import class_weight_table, to_arrays
from tfllm.train.standardize import standardize_batch

SIZES = dict(vocab_size=40, max_length=8, num_layers=1, hidden_size=8, num_heads=2, ffn_size=8)
DECODER = tfllm.ModelConfig(**SIZES)
ENCODER = tfllm.ModelConfig(**SIZES, causal=False, num_types=2, norm_place="post", embedding_norm=True, pooler=True)
LABELS = ["O", "B-X", "I-X"]
MODELS = {
    "causal": lambda: tfllm.CausalLM(DECODER),
    "masked": lambda: tfllm.MaskedLM(ENCODER),
    "pairs": lambda: tfllm.MaskedLM(ENCODER, next_sentence=True),
    "classes": lambda: tfllm.TextClassifier(ENCODER, labels=LABELS),
    "several": lambda: tfllm.TextClassifier(ENCODER, labels=LABELS, multi_label=True),
    "number": lambda: tfllm.TextRegressor(ENCODER),
    "tags": lambda: tfllm.TokenClassifier(ENCODER, labels=LABELS),
    "answer": lambda: tfllm.QuestionAnswerer(ENCODER),
    "vector": lambda: tfllm.TextEmbedder(ENCODER),
}


@pytest.fixture(scope="module")
def keys():
    """The keys of each model's batches, and its class's name."""
    return {name: (model.batch_keys, type(model).__name__) for name, model in ((name, make()) for name, make in MODELS.items())}


@pytest.fixture(scope="module")
def read(keys):
    def read(task, *data, with_targets=True, **settings):
        data = tuple(None if each is None else tf.nest.map_structure(tf.constant, each) for each in data)
        found = standardize_batch(keys[task][0], data, model_name=keys[task][1], with_targets=with_targets, **settings)
        return {name: value.numpy().tolist() for name, value in found.items()}

    return read


IDS = np.array([[5, 6, 7, 0], [8, 9, 5, 6]])
MASK = np.array([[1, 1, 1, 0], [1, 1, 1, 1]])
HERE = {"token_ids": IDS.tolist(), "segment_ids": MASK.tolist()}


def test_the_docstrings_example(keys):
    given = {"input_ids": tf.constant([[101, 7, 102, 0]], tf.int64), "attention_mask": tf.constant([[1, 1, 1, 0]], tf.int64)}
    found = standardize_batch(
        keys["classes"][0], (given, tf.constant([1], tf.int64)), model_name="TextClassifier", with_targets=True
    )
    assert {name: (value.numpy().tolist(), value.dtype.name) for name, value in found.items()} == {
        "token_ids": ([[101, 7, 102, 0]], "int32"),
        "segment_ids": ([[1, 1, 1, 0]], "int32"),
        "labels": ([1], "int32"),
    }


@pytest.mark.parametrize("mask", ["attention_mask", "padding_mask"])
@pytest.mark.parametrize("dtype", ["int64", "bool", "uint8"])
def test_a_mask_is_segment_ids(read, mask, dtype):
    assert read("number", {"token_ids": IDS, mask: MASK.astype(dtype)}, np.array([1, 2])) == HERE | {"labels": [1, 2]}


def test_names_of_hugging_face(read):
    more = {"token_type_ids": MASK, "position_ids": IDS}
    found = read("answer", {"input_ids": IDS, **more, "start_positions": np.array([1, 0]), "end_positions": np.array([2, 0])})
    assert found == {
        "token_ids": IDS.tolist(),
        "type_ids": MASK.tolist(),
        "positions": IDS.tolist(),
        "span_starts": [1, 0],
        "span_ends": [2, 0],
    }
    assert read("classes", {"input_ids": IDS, "label": np.array([0, 2])})["labels"] == [0, 2]
    pairs = {"token_ids": IDS, "labels": np.full([2, 4], -100), "next_sentence_label": np.array([0, 1])}
    assert read("pairs", pairs)["pair_labels"] == [0, 1]


def test_hugging_faces_labels_of_a_decoder_are_the_row_itself(read):
    """Transformers shifts them inside the model; padding is -100 there, and here no target whatever stands in it."""
    labels = np.where(MASK == 1, IDS, -100)
    for given in (labels, IDS):
        assert read("causal", {"input_ids": IDS, "attention_mask": MASK, "labels": given}) == HERE | {
            "target_ids": [[6, 7, 0, 0], [9, 5, 6, 0]],
            "target_weights": [[1, 1, 0, 0], [1, 1, 1, 0]],
        }
    weights = np.array([[0, 0, 3, 9], [0, 0, 1, 2]], np.float32)  # of the labels: a prompt of two tokens is not learnt
    batch = {"input_ids": IDS, "attention_mask": MASK, "labels": labels}
    for given in ((batch, None, weights), (batch | {"target_weights": weights},)):
        assert read("causal", *given)["target_weights"] == [[0, 3, 0, 0], [0, 1, 2, 0]]


@pytest.mark.parametrize("task", ["masked", "tags"])
def test_labels_that_do_not_count(read, task):
    labels = np.array([[-100, 1, -100, -100], [2, -100, 0, 1]])
    targets = {"target_ids": [[0, 1, 0, 0], [2, 0, 0, 1]], "target_weights": [[0, 1, 0, 0], [1, 0, 1, 1]]}
    assert read(task, {"token_ids": IDS, "labels": labels}) == {"token_ids": IDS.tolist()} | targets
    for data in (({"token_ids": IDS}, labels), (IDS, labels), ({"token_ids": IDS}, {"target_ids": labels})):
        assert read(task, *data) == {"token_ids": IDS.tolist()} | targets
    assert read(task, IDS, labels, np.array([0.5, 2]))["target_weights"] == [[0, 0.5, 0, 0], [2, 0, 2, 2]]
    assert read(task, IDS, labels, np.full([2, 4], 3.0))["target_weights"] == [[0, 3, 0, 0], [3, 0, 3, 3]]


def test_targets_that_are_no_padding_count(read):
    found = read("causal", {"token_ids": IDS, "segment_ids": MASK, "target_ids": IDS})
    assert found["target_weights"] == MASK.tolist()
    assert read("causal", IDS, IDS + 1)["target_weights"] == [[1] * 4] * 2
    weights = {"target_weights": np.array([[1, 1, 0, 0], [0, 0, 0, 2.0]])}  # float64
    assert (
        read("causal", {"token_ids": IDS, "target_ids": IDS, **weights})["target_weights"] == weights["target_weights"].tolist()
    )
    rows = {"token_ids": IDS, "target_ids": IDS, **weights, "row_weights": np.array([0, 0.5])}
    assert read("causal", rows)["target_weights"] == [[0] * 4, [0, 0, 0, 1]]


def test_targets_in_the_order_of_the_task(read):
    starts, ends = np.array([1, 2]), np.array([2, 3])
    for y in ((starts, ends), {"start_positions": starts, "span_ends": ends}):
        found = read("answer", IDS, y)
        assert (found["span_starts"], found["span_ends"]) == ([1, 2], [2, 3])
    assert read("pairs", IDS, (IDS, starts - 1))["pair_labels"] == [0, 1]


def test_columns_are_vectors(read):
    """[B, 1] beside [B] would be broadcast to [B, B]."""
    column, weights = np.array([[0], [2]]), np.array([[0.5], [2]])
    assert read("classes", IDS, column, weights) == {"token_ids": IDS.tolist(), "labels": [0, 2], "row_weights": [0.5, 2]}
    assert read("number", {"token_ids": IDS, "row_weights": weights, "labels": column})["labels"] == [0, 2]


def test_classes_are_weighted(read):
    weights = np.array([0.5, 1, 4], np.float32)
    assert read("classes", IDS, np.array([2, 0]), class_weights=weights)["row_weights"] == [4, 0.5]
    assert read("classes", IDS, np.array([2, 0]), np.array([3, 2.0]), class_weights=weights)["row_weights"] == [12, 1]
    tags = np.array([[0, 1, 2, -100], [2, 2, 0, 0]])
    assert read("tags", IDS, tags, class_weights=weights)["target_weights"] == [[0.5, 1, 4, 0], [4, 4, 0.5, 0.5]]


def test_a_table_of_class_weights(keys):
    assert class_weight_table(keys["classes"][0], {1: 2.5}, model_name="TextClassifier").tolist() == [1, 2.5, 1]
    assert class_weight_table(keys["number"][0], None, model_name="TextRegressor") is None
    for given in ({3: 1.0}, {"O": 1.0}, [1, 2, 3]):
        with pytest.raises(ValueError, match="give a dict of class numbers, 0 to 2, and weights: dict"):
            class_weight_table(keys["classes"][0], given, model_name="TextClassifier")
    for task in ("causal", "masked", "several", "number", "answer", "vector"):
        with pytest.raises(ValueError, match=f"class_weight: a {keys[task][1]} tells no classes apart"):
            class_weight_table(keys[task][0], {0: 1.0}, model_name=keys[task][1])


def test_ids_beyond_int32_become_no_other_id(read):
    assert read("causal", np.array([[2**32 + 5]]), with_targets=False) == {"token_ids": [[2**31 - 1]]}


def test_strings_and_places_of_rows_are_not_read(read):
    given = {"token_ids": IDS, "text": np.array(["a", "b"]), "row": np.array([0, 1])}
    assert read("causal", given, with_targets=False) == {"token_ids": IDS.tolist()}


def test_a_forward_pass_reads_no_targets(read):
    labelled = {"token_ids": IDS, "labels": np.array([0.5, 1]), "row_weights": np.ones(2), "pair_labels": np.array([0, 1])}
    for task in MODELS:
        assert read(task, labelled, with_targets=False) == {"token_ids": IDS.tolist()}


def test_a_batch_in_our_vocabulary_costs_no_operation(keys):
    names = {"token_ids": "BS", "segment_ids": "BS", "positions": "BS", "target_ids": "BS", "target_weights": "BS"}
    with tf.Graph().as_default() as graph:
        dtypes = {name: tf.float32 if "weights" in name else tf.int32 for name in names}
        given = {name: tf.compat.v1.placeholder(dtypes[name], [2, None]) for name in names}
        count = len(graph.get_operations())
        found = standardize_batch(keys["causal"][0], given, model_name="CausalLM", with_targets=True)
        assert found.keys() == given.keys() and all(found[name] is given[name] for name in given)
        assert len(graph.get_operations()) == count


def arrays(given):
    if isinstance(given, dict):
        return {name: np.asarray(value) for name, value in given.items()}
    return tuple(map(np.asarray, given)) if isinstance(given, tuple) else np.asarray(given)


@pytest.mark.parametrize(
    ("task", "data", "message"),
    [
        ("classes", [{"token_ids": IDS, "segment_id": MASK}, [0, 1]], r"'segment_id', .*\(did you mean 'segment_ids'\?\)"),
        ("causal", [{"token_ids": IDS, "type_ids": MASK, "target_ids": IDS}], "'type_ids', which a CausalLM does not know"),
        ("classes", [{"token_ids": IDS, "special_tokens_mask": MASK}, [0, 1]], "'special_tokens_mask', which .*: take it out"),
        ("masked", [{"token_ids": IDS, "pair_labels": [0, 1]}, IDS], "'pair_labels', which a MaskedLM does not know"),
        (
            "classes",
            [{"token_ids": IDS, "target_weights": np.ones([2, 4])}, [0, 1]],
            "'target_weights', which a TextClassifier",
        ),
        (
            "classes",
            [{"input_ids": IDS, "token_ids": IDS}, [0, 1]],
            "token_ids is given twice, as token_ids and by another name",
        ),
        (
            "classes",
            [HERE | {"attention_mask": MASK}, [0, 1]],
            r"segment_ids is given twice.*\(KerasHub's segment_ids\) is type_ids",
        ),
        ("classes", [{"token_ids": IDS, "padding_mask": MASK, "segment_ids": MASK}, [0, 1]], "is type_ids here"),
        ("classes", [{"token_ids": IDS, "labels": [0, 1]}, [0, 1]], "labels is given twice, as y, and in x"),
        (
            "classes",
            [{"token_ids": IDS, "row_weights": [1.0, 1]}, [0, 1], [1.0, 1]],
            "row_weights is given twice, as sample_weight",
        ),
        ("causal", [{"token_ids": IDS, "target_ids": IDS, "labels": IDS}], "target_ids is given twice, as labels"),
        (
            "classes",
            [IDS],
            r"the batch has no labels: give it as y, or in the dict. A batch of a TextClassifier holds token_ids",
        ),
        ("answer", [IDS], "the batch has no span_starts and no span_ends"),
        ("answer", [IDS, [1, 2]], r"the targets are span_starts and span_ends: give y=\(span_starts, span_ends\)"),
        ("answer", [IDS, ([1, 2],)], "y has 1 parts, the targets are span_starts and span_ends"),
        ("vector", [IDS, [0, 0]], "y was given, and a TextEmbedder learns from the rows alone: leave y out"),
        ("vector", [IDS[:1]], "the batch has 1 rows, which cannot be pairs"),
        ("classes", [{"segment_ids": MASK}, [0, 1]], r"the batch has no token_ids\. "),
        ("classes", [np.array(["a", "b"]), [0, 1]], "x holds strings, and a model reads token ids: tokenize"),
        ("classes", [IDS.astype(np.float32), [0, 1]], "token_ids are float32: give whole numbers, int32"),
        ("classes", [IDS, [0.0, 1]], "labels are float64: give whole numbers"),
        (
            "classes",
            [IDS, np.eye(3)[:2]],
            r"labels has the shape \(2, 3\), .* \[B\]: give class numbers \(of one-hot rows, argmax",
        ),
        ("several", [IDS, [0, 1]], r"labels has the shape \(2,\), which should be \[B, C\]"),
        ("several", [IDS, np.eye(2)], r"labels has the shape \(2, 2\), where C is 3"),
        ("number", [IDS, np.ones([2, 2])], r"labels has the shape \(2, 2\), which should be \[B\]"),
        ("number", [IDS, [1.0, 2, 3]], r"labels has the shape \(3,\), where B is 2 elsewhere"),
        ("causal", [IDS, IDS[:, 1:]], r"target_ids has the shape \(2, 3\), where S is 4 elsewhere"),
        (
            "number",
            [IDS[0], [1.0]],
            r"token_ids has the shape \(4,\), which should be \[B, S\]: that is a single row; give batches",
        ),
        (
            "number",
            [{"token_ids": IDS, "attention_mask": MASK * 1.0}, [1.0, 2]],
            "attention_mask is float64: give 1 for a token",
        ),
        ("number", [IDS, [1.0, 2], np.ones([2, 4])], r"sample_weight has the shape \(2, 4\); give \[B\]"),
        (
            "masked",
            [{"token_ids": IDS, "target_places": [[0], [1]]}, [[5], [6]]],
            "target_places, and no target_weights that say",
        ),
        ("number", [([[5, 6]], [[1, 1]]), [1.0]], "x is a tuple, no dict of tensors and no tensor of token ids"),
    ],
)
def test_what_is_refused(read, task, data, message):
    with pytest.raises(ValueError, match=message) as error:
        read(task, *map(arrays, data))
    assert "holds token_ids int32 [B, S]; if you have them, positions int32 [B, S]" in str(error.value)


def test_half_a_pair_is_refused_where_the_size_is_known_late(keys):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def read(ids):
        return standardize_batch(keys["vector"][0], ids, model_name="TextEmbedder", with_targets=True)["token_ids"]

    assert read(IDS.astype(np.int32)).shape == (2, 4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a batch of pairs has an even number of rows"):
        read(IDS[:1].astype(np.int32))


def test_ragged_ids_are_refused_with_the_way(keys):
    ragged = tf.ragged.constant([[5, 6], [7]], dtype=tf.int32)
    with pytest.raises(
        ValueError, match=r"token_ids is ragged: give token_ids.to_tensor\(\), and attention_mask=tf.sequence_mask"
    ):
        standardize_batch(keys["causal"][0], ragged, model_name="CausalLM", with_targets=False)
    given = {"token_ids": ragged.to_tensor(), "attention_mask": tf.sequence_mask(ragged.row_lengths())}
    found = standardize_batch(keys["causal"][0], given, model_name="CausalLM", with_targets=False)
    assert found["segment_ids"].numpy().tolist() == [[1, 1], [1, 0]]


def test_lists_are_arrays():
    assert to_arrays({"input_ids": [[1, 2], [3, 4]]})["input_ids"].tolist() == [[1, 2], [3, 4]]
    starts, ends = to_arrays(([1, 2], [3, 4]), num_tensors=2)
    assert (starts.tolist(), ends.tolist()) == ([1, 2], [3, 4])
    with pytest.raises(
        ValueError, match="rows of 1 to 2 numbers make no tensor: give all the same number; pad tokens, and give attention_mask"
    ):
        to_arrays([[1, 2], [3]])
    with pytest.raises(ValueError, match="a list of 2 arrays is several inputs, which go by name: give a dict"):
        to_arrays([IDS, MASK])
    assert to_arrays({"text": ["a", "b"]})["text"].dtype == tf.string
