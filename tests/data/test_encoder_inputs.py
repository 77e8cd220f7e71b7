"""Rows of encoders: literal rows, texts cut as `tokenizers` cuts them, and windows that lose nothing."""

import random

import numpy as np
import pytest
import tensorflow as tf
from encoder_like import BertLike, RobertaLike
from tokenizers import Tokenizer as Reference
from tokenizers import models, pre_tokenizers, processors

from tfllm import features
from tfllm.data import encoder_inputs
from tfllm.tokenizers.truncation import num_special_tokens, truncate_longest_first


def ragged(*rows):
    return tf.RaggedTensor.from_row_lengths(
        tf.constant([id for row in rows for id in row], tf.int32), [len(row) for row in rows]
    )


def framed(first, second=None, tokenizer=BertLike, **options):
    rows = encoder_inputs.build_encoder_inputs(ragged(*first), second and ragged(*second), tokenizer=tokenizer(), **options)
    return [rows[name].numpy().tolist() for name in (features.TOKEN_IDS, features.SEGMENT_IDS, features.TYPE_IDS)]


def test_one_text_as_in_the_docstring():
    assert framed([[7, 8, 9]], max_length=4, multiple=4) == [[[1, 7, 8, 2]], [[1, 1, 1, 1]], [[0, 0, 0, 0]]]


def test_a_longer_row_elsewhere_makes_rows_wider():
    assert framed([[7]], max_length=32, multiple=4, longest=9)[0] == [[1, 7, 2] + [0] * 9]
    assert framed([[7] * 9], max_length=32, multiple=4, longest=3)[0] == [[1] + [7] * 9 + [2, 0]]
    assert framed([[7]], max_length=10, multiple=4, longest=99)[0] == [[1, 7, 2] + [0] * 7]


def test_two_texts_as_in_the_docstring():
    assert framed([[7, 8], [7]], [[5], [5, 6]], max_length=6, multiple=4) == [
        [[1, 7, 8, 2, 5, 2], [1, 7, 2, 5, 6, 2]],
        [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]],
        [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]],
    ]
    assert framed([[7]], [[5]], RobertaLike, max_length=8, multiple=4) == [
        [[1, 7, 2, 2, 5, 2, 0, 0]],
        [[1, 1, 1, 1, 1, 1, 0, 0]],
        [[0, 0, 0, 0, 1, 1, 0, 0]],
    ]


def test_empty_texts_and_batches():
    assert framed([[], [7]], max_length=8, multiple=4)[0] == [[1, 2, 0, 0], [1, 7, 2, 0]]
    assert framed([[]], [[]], max_length=8, multiple=4)[0] == [[1, 2, 2, 0]]
    assert framed([], max_length=8)[0] == []
    with pytest.raises(ValueError, match="max_length=3 is invalid: expected at least 4"):
        framed([[7]], [[5]], max_length=3)


def test_truncated_lengths_as_in_the_docstring():
    for first, second, budget, expected in ((3, 9, 8, (3, 5)), (9, 3, 8, (5, 3)), (9, 7, 7, (4, 3)), (7, 7, 7, (3, 4))):
        assert truncate_longest_first(first, second, budget) == expected
        tensors = dict(minimum=tf.minimum, maximum=tf.maximum)
        kept = truncate_longest_first(tf.constant([first]), tf.constant([second]), budget, **tensors)
        assert tuple(length.numpy()[0] for length in kept) == expected


@pytest.mark.parametrize("tokenizer", [BertLike, RobertaLike])
def test_pairs_are_cut_as_tokenizers_cuts_them(tokenizer):
    names = {"_": 0, "[": 1, "]": 2} | {chr(97 + number): 10 + number for number in range(26)}
    reference = Reference(models.WordLevel(names, unk_token="_"))
    reference.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    between = " ]" * tokenizer.pair_separators
    reference.post_processor = processors.TemplateProcessing(
        single="[ $A ]", pair=f"[ $A{between} $B:1 ]:1", special_tokens=[("[", 1), ("]", 2)]
    )
    limit = 13
    reference.enable_truncation(limit, strategy="longest_first")
    sizes = [(first, second) for first in range(14) for second in range(14)]
    firsts, seconds = ([list(range(10, 10 + pair[side])) for pair in sizes] for side in (0, 1))
    ids, segments, types = framed(firsts, seconds, tokenizer, max_length=limit, multiple=1)

    def text(row):
        return " ".join(chr(87 + id) for id in row)

    for first, second, row, there, type_row in zip(firsts, seconds, ids, segments, types, strict=True):
        expected = reference.encode(text(first), text(second))
        assert row[: sum(there)] == expected.ids
        assert type_row[: sum(there)] == expected.type_ids
        assert not any(row[sum(there) :])


def test_widths_and_laying_as_in_the_docstrings():
    assert encoder_inputs.padded_length(tf.constant([3, 17]), 64).numpy() == 32
    assert encoder_inputs.padded_length(tf.constant([3, 17]), 20).numpy() == 20
    onto = encoder_inputs.write_rows(
        ragged([7, 8, 9], [5]), tf.zeros([2, 4], tf.int32), at=tf.constant([1, 2]), count=tf.constant([2, 1])
    )
    assert onto.numpy().tolist() == [[0, 7, 8, 0], [0, 0, 5, 0]]


def test_answer_places_as_in_the_docstring():
    rows = encoder_inputs.build_encoder_inputs(ragged([7]), ragged([5, 6]), tokenizer=BertLike(), max_length=8, multiple=4)
    assert rows[features.TOKEN_IDS].numpy().tolist() == [[1, 7, 2, 5, 6, 2, 0, 0]]
    assert encoder_inputs.answer_token_mask(rows).numpy().tolist() == [[1, 0, 0, 1, 1, 0, 0, 0]]


def windows(questions, contexts, tokenizer=BertLike, **options):
    return encoder_inputs.context_windows(ragged(*questions), ragged(*contexts), tokenizer=tokenizer(), **options)


def test_windows_as_in_the_docstring():
    found = windows([[7]], [[1, 2, 3, 4, 5, 6]], max_length=8, stride=2)
    assert found.contexts.to_list() == [[1, 2, 3, 4], [3, 4, 5, 6]]
    assert found.questions.to_list() == [[7], [7]]
    assert (found.starts.numpy().tolist(), found.texts.numpy().tolist()) == ([0, 2], [0, 0])
    for context, question in (([1], [7, 7, 7, 7]), ([1, 2, 3], [7, 7])):
        found = windows([[7, 7, 7, 7]], [context], max_length=8, stride=2)
        assert (found.questions.to_list(), found.contexts.to_list()) == ([question], [context])


@pytest.mark.parametrize("tokenizer", [BertLike, RobertaLike])
def test_windows_lose_nothing_and_are_not_cut_again(tokenizer):
    draw = random.Random(0)
    for stride in (0, 1, 5):
        questions = [list(range(100, 100 + draw.randrange(9))) for _ in range(40)]
        contexts = [list(range(1000 * number, 1000 * number + draw.randrange(1, 60))) for number in range(40)]
        found = windows(questions, contexts, tokenizer, max_length=20, stride=stride)
        rows = encoder_inputs.build_encoder_inputs(found.questions, found.contexts, tokenizer=tokenizer(), max_length=20)[
            features.TOKEN_IDS
        ].numpy()
        seen = [[] for _ in contexts]
        for text, start, question, part, row in zip(
            found.texts.numpy(), found.starts.numpy(), found.questions.to_list(), found.contexts.to_list(), rows, strict=True
        ):
            assert part == contexts[text][start : start + len(part)]
            assert start == max(0, len(seen[text]) - stride)
            seen[text] += part[len(seen[text]) - start :]
            # What a short context leaves, or a third.
            places = 20 - num_special_tokens(tokenizer(), pair=True)
            assert question == questions[text][: max(places // 3, places - len(contexts[text]))]
            whole = [1, *question, *[2] * tokenizer.pair_separators, *part, 2]
            assert row.tolist() == whole + [0] * (len(row) - len(whole))
        assert seen == contexts


def test_windows_that_cannot_advance_are_refused():
    with pytest.raises(ValueError, match="max_length=12 and stride=6: a question may take 3 places, so windows show 6"):
        windows([[7]], [[1]], max_length=12, stride=6)
    with pytest.raises(ValueError, match="max_length=5"):
        windows([[7]], [[1]], max_length=5, stride=0)


def test_the_graph_is_the_same_for_any_shape():
    specs = [tf.RaggedTensorSpec([None, None], tf.int32)] * 2
    compiled = tf.function(
        lambda first, second: encoder_inputs.build_encoder_inputs(first, second, tokenizer=BertLike(), max_length=40),
        input_signature=specs,
    )
    for size in (1, 30):
        first, second = ragged(*[range(10, 10 + size)] * 3), ragged(*[range(10, 12)] * 3)
        eager = encoder_inputs.build_encoder_inputs(first, second, tokenizer=BertLike(), max_length=40)
        for name, value in compiled(first, second).items():
            np.testing.assert_array_equal(value, eager[name])
