"""A share held out: by the texts alone, equal texts on one side, for every task's rows."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tfllm import data, features
from tfllm.data.labelled.conll_files import Sentence
from tfllm.tokenizers import ByteTokenizer

WORDS = ByteTokenizer()


def classified(*texts: str) -> data.Labelled:
    return data.text_classification([{"text": text, "label": f"of {text}"} for text in texts], WORDS)


def texts(rows: data.Labelled) -> list[str]:
    return [record.text for record in rows.records]


def test_as_in_the_docstring() -> None:
    """sha256: ca978112… a, 3e23e816… b, 2e7d2c03… c."""
    rows = classified("a", "b", "a", "c")
    training, held_out = data.split(rows, validation=0.25)
    assert (texts(training), texts(held_out)) == (["a", "b", "a"], ["c"])
    training, held_out = data.split(rows, validation=0.5)
    assert (texts(training), texts(held_out)) == (["a", "a"], ["b", "c"])
    assert training.labels == held_out.labels == rows.labels == ("of a", "of b", "of c")
    assert held_out.row_features[features.LABELS].tolist() == [1, 2]


def test_the_order_of_the_file_does_not_matter() -> None:
    names = [f"text {i}" for i in range(200)]
    first = data.split(classified(*names), validation=0.1)
    random.Random(0).shuffle(names)
    second = data.split(classified(*names), validation=0.1)
    assert len(first[1]) == len(second[1]) == 20
    assert set(texts(first[1])) == set(texts(second[1]))
    assert texts(second[0]) == [name for name in names if name in set(texts(second[0]))], "the file's order stays"
    assert data.split(classified(*names), validation=0.1)[0].fingerprint == second[0].fingerprint


def test_some_group_is_held_out_and_some_is_left() -> None:
    training, held_out = data.split(classified("a", "b"), validation=0.01)
    assert (texts(training), texts(held_out)) == (["a"], ["b"])
    training, held_out = data.split(classified("a", "b"), validation=0.99)
    assert (texts(training), texts(held_out)) == (["a"], ["b"])


def test_what_cannot_be_split_is_refused() -> None:
    for share in (0, 1, -0.1, 7):
        with pytest.raises(ValueError, match=rf"validation={share} is invalid: expected a fraction above 0 and below 1."):
            data.split(classified("a", "b"), validation=share)
    with pytest.raises(ValueError, match=r"validation=0\.1 is invalid: expected at least two groups of records"):
        data.split(classified("a", "a"), validation=0.1)


def test_partners_of_an_embedder_stay_together() -> None:
    """A FAQ: questions with one answer hang together, and those that one of them is asked in, too."""
    pairs = [("q1", "A"), ("q2", "A"), ("q3", "B"), ("q1", "C"), ("q4", "D"), ("q5", "E")]
    rows = data.text_pairs([{"text": text, "text_pair": pair} for text, pair in pairs], WORDS)
    for share in (0.2, 0.4, 0.6, 0.8):
        sides = [[(record.text, record.pair) for record in side.records] for side in data.split(rows, validation=share)]
        words = [{word for pair in side for word in pair} for side in sides]
        assert not words[0] & words[1] and all(sides)
        for side, part in zip(sides, data.split(rows, validation=share), strict=True):
            decoded = ["".join(chr(value - 3) for value in ids) for ids in np.split(part.first.values, part.first.splits[1:-1])]
            assert decoded == [word for pair in side for word in pair]
            assert len(part) == 2 * len(side) and part.together == 2


def test_labelled_pairs_go_by_their_first_text() -> None:
    rows = data.text_classification(
        [{"text": f"premise {i // 3}", "text_pair": "yes" if i % 3 else "no", "label": "ab"[i % 2]} for i in range(30)],
        WORDS,
        pair="text_pair",
    )
    training, held_out = data.split(rows, validation=0.2)
    assert len(held_out) == 6 and not set(texts(training)) & set(texts(held_out))
    assert held_out.second is not None and len(held_out.second.lengths) == 6


def test_sentences_keep_their_words() -> None:
    """Long ones have several rows; predictions come back to their own words."""
    sentences = [
        Sentence(
            tuple(f"w{i}{j}" for j in range(i % 7 + 1)),
            ("N", "V", "N", "V", "N", "V", "N")[: i % 7 + 1],
            (True,) * (i % 7 + 1),
            "f",
        )
        for i in range(20)
    ]
    rows = data.tagging(sentences, WORDS, max_length=16)
    assert len(rows) > len(sentences)
    for part in data.split(rows, validation=0.3):
        alone = data.tagging(part.records, WORDS, labels=rows.labels, max_length=16)
        assert part.fingerprint == alone.fingerprint
        classes = [np.arange(40) % 2 for _ in range(len(part))]
        assert part.by_sentence(classes) == alone.by_sentence(classes)
        assert part.by_text(classes) == alone.by_text(classes)
        assert part.exact.tolist() == alone.exact.tolist()


def test_questions_of_a_context_stay_together() -> None:
    asked = [
        {"question": f"Q{i}?", "context": f"{'long ' * (i // 2)}context {i // 2}", "answers": ["context"]}
        | {"answer_start": [5 * (i // 2)]}
        for i in range(20)
    ]
    rows = data.question_answering(asked, WORDS, max_length=40, stride=8)
    assert len(rows) > len(asked)
    training, held_out = data.split(rows, validation=0.2)
    assert len(held_out.records) == 4
    assert not {record.context for record in training.records} & {record.context for record in held_out.records}
    for part in (training, held_out):
        mine = [asked[int(record.question[1:-1])] for record in part.records]
        alone = data.question_answering(mine, WORDS, max_length=40, stride=8)
        assert part.fingerprint == alone.fingerprint
        assert (part.exact.tolist(), part.longest_answer) == (alone.exact.tolist(), alone.longest_answer)
        starts, ends = (alone.row_features[name] for name in (features.SPAN_STARTS, features.SPAN_ENDS))
        scores = (starts > 0).astype(float)
        found = part.answers(starts, ends, scores, scores * 0 + 0.5)
        assert [answer.text for answer in found] == ["context"] * len(mine)
