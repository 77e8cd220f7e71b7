"""Questions: literal rows, windows, and answers back to the characters of the context."""

import random

import numpy as np
import pytest
from encoder_like import BertLike, RobertaLike, letters

from tfllm import features
from tfllm.data.labelled import question_answering
from tfllm.tokenizers import ByteTokenizer

ADA = {"question": "Who?", "context": "It was Ada.", "answers": ["Ada"], "answer_start": [7]}


def test_as_in_the_docstring():
    found = question_answering([ADA], ByteTokenizer())
    assert (found.task, found.stride) == ("question_answerer", 128)
    (batch,) = found.batches(1, shuffle=False, repeat=False)
    ids = batch[features.TOKEN_IDS][0].numpy()
    assert ids[:18].tolist() == [1, *(3 + byte for byte in b"Who?"), 1, *(3 + byte for byte in b"It was Ada."), 1]
    assert batch[features.SPAN_STARTS].numpy().tolist() == [12]
    assert batch[features.SPAN_ENDS].numpy().tolist() == [15]
    assert np.flatnonzero(batch[features.ANSWER_PLACES][0].numpy()).tolist() == [0, *range(6, 17)]


def test_characters_as_in_the_docstring():
    class Words(BertLike):
        """One id a word, as in the docstring."""

        def tokenize(self, texts):
            return super().tokenize(texts)[:, :1]

        def encode_batch(self, texts):
            return [np.arange(10, 12) for _ in texts]

    found = question_answering([ADA], Words())
    assert found.characters(0, 6, 6) == slice(7, 10)
    assert found.row_features[features.SPAN_STARTS].tolist() == found.row_features[features.SPAN_ENDS].tolist() == [6]
    for start, end in ((0, 0), (3, 4), (6, 8), (6, 5)):
        with pytest.raises(
            ValueError, match=f"row 0: start={start}, end={end} is invalid: expected positions of the context, 4 to 7"
        ):
            found.characters(0, start, end)


def many(count=300, seed=0):
    """Questions about few contexts, with answers anywhere, of whole words, parts of words and none."""
    draw = random.Random(seed)
    vocabulary = ["Ada", "d'Été", "中文", "10%", "x", "naïve-ish", "\n", "—", "\u00a0", "😀"]
    contexts = ["start " + " ".join(draw.choices(vocabulary, k=draw.randrange(1, 60))) + "." for _ in range(40)]
    records = []
    for number in range(count):
        context = draw.choice(contexts)
        begin = draw.randrange(len(context))
        answer = context[begin : begin + draw.randrange(1, 20)].rstrip()
        while not answer.strip(" \n\u00a0"):
            begin = draw.randrange(len(context))
            answer = context[begin : begin + 5].rstrip()
        there = {"answers": [answer], "answer_start": [begin]} if draw.random() < 0.7 else {"answers": []}
        records.append({"id": f"q{number}", "question": "why " * draw.randrange(1, 12), "context": context} | there)
    return records


@pytest.mark.parametrize("tokenizer", [BertLike, RobertaLike])
def test_labelled_places_are_the_answers_words(tokenizer):
    records = many()
    found = question_answering(records, tokenizer(), max_length=80, stride=16)
    assert len(found) > len(records)
    assert len(set(found.context_of)) == len({record["context"] for record in records}) == len(found.contexts.ids.lengths)
    starts, ends = found.row_features[features.SPAN_STARTS], found.row_features[features.SPAN_ENDS]
    shown = set()
    for row, number in enumerate(found.record_of):
        record = records[number]
        if starts[row] == 0:
            assert ends[row] == 0
            continue
        shown.add(number)
        characters = found.characters(row, int(starts[row]), int(ends[row]))
        answer, begin = record["answers"][0], record["answer_start"][0]
        text = record["context"][characters]
        # The words that the answer touches, no more: cutting a word off either end would lose a part of the answer.
        stripped = answer.strip()
        begin += answer.index(stripped)
        assert characters.start <= begin
        assert characters.stop >= begin + len(stripped)
        assert stripped in text
        assert not any(space in text[: begin - characters.start] for space in " \n")
    answerable = {number for number, record in enumerate(records) if record["answers"]}
    assert shown <= answerable
    assert len(shown) > 0.9 * len(answerable)  # an answer may lie across every window


def test_rows_show_what_their_offsets_say():
    records = many(60, seed=3)
    found = question_answering(records, RobertaLike(), max_length=64, stride=16)
    row = 0
    for batch in found.batches(1, shuffle=False, repeat=False):
        ids, places = batch[features.TOKEN_IDS][0].numpy(), batch[features.ANSWER_PLACES][0].numpy()
        assert ids[0] == 1 and places[0] == 1
        shown = np.flatnonzero(places)[1:]
        context = records[found.record_of[row]]["context"]
        for place in shown[:: max(1, len(shown) // 4)]:
            word = context[found.characters(row, int(place), int(place))]
            assert bytes([ids[place] - 10]) in b" \n\xc2\xa0" + word.encode()
        row += 1
    assert row == len(found)


def test_one_answer_a_question_as_in_the_docstring():
    records = [ADA | {"context": "It was Ada. " * 8}, ADA | {"question": "Why?"}]
    found = question_answering(records, BertLike(), max_length=50, stride=8)
    rows = np.flatnonzero(found.record_of == 0)
    assert len(rows) == 2
    starts = ends = np.array([int(found._shown_from(row)) for row in range(len(found))])
    first, second = found.answers(starts, ends, np.array([3, 5, 9.0]), np.array([4, 2, 1.0]))
    assert (first.score, second.score) == (3, 8)
    assert first.text == found.records[0].context[first.start : first.end] != ""
    assert first.start >= found.contexts.starts[found.windows[1]] > 0
    none, second = found.answers(starts, ends, np.array([1, 2, 9.0]), np.array([4, 3, 1.0]))
    assert (none.text, none.start, none.end, none.score) == ("", 0, 0, -1)
    assert found.answers(starts, ends, np.array([1, 2, 9.0]), np.array([3, 4, 1.0]))[0].score == -1
    bold, _ = found.answers(starts, ends, np.array([1, 2, 9.0]), np.array([4, 3, 1.0]), threshold=1)
    assert bold.text != ""


def test_an_answer_that_no_window_holds_is_not_taught_as_none():
    """Its rows count nothing; another question's do, and a part of an answer that another window holds whole is none."""
    long = {"question": "Who?", "context": "It was " + "Ada " * 30, "answers": [("Ada " * 30).strip()], "answer_start": [7]}
    with pytest.warns(
        UserWarning, match=r"1 of 2 answers do not fit in one window, .* max_length \(now 50\) or stride \(now 8\)"
    ):
        found = question_answering([long, ADA | {"context": "It was Ada. " * 8}], BertLike(), max_length=50, stride=8)
    weights = np.concatenate([b[features.ROW_WEIGHTS].numpy() for b in found.batches(2, shuffle=False, repeat=False)])
    assert weights[: len(found)].tolist() == (found.record_of == 1).astype(float).tolist()
    assert not found.row_features[features.SPAN_STARTS][found.record_of == 0].any()
    assert found.exact.tolist() == [False, True]
    assert features.ROW_WEIGHTS not in question_answering([ADA], BertLike()).row_features


def test_a_question_is_cut_beside_a_long_context_only():
    asked = "Who was it that wrote the first program?"
    short = question_answering([ADA | {"question": asked}], BertLike(), max_length=60, stride=8)
    assert short.first.lengths.tolist() == [len(asked)]
    with pytest.warns(UserWarning, match=r"1 of 1 questions are too long .*max_length \(now 60\). The first: record 1"):
        cut = question_answering(
            [ADA | {"question": asked, "context": "It was Ada. " * 9}], BertLike(), max_length=60, stride=8
        )
    assert set(cut.first.lengths.tolist()) == {(60 - 3) // 3}


def test_of_several_answers_one_that_can_be_given_is_learnt():
    class Words(BertLike):
        """One id a word."""

        def tokenize(self, texts):
            return super().tokenize(texts)[:, :1]

    several = ADA | {"answers": ["Ad", "Ada"], "answer_start": [7, 7]}
    assert question_answering([several], Words()).exact.all()
    with pytest.warns(UserWarning, match="1 of 1 answers begin or end inside a token"):
        assert not question_answering([ADA | {"answers": ["Ad"]}], Words()).exact.any()


def test_too_small_windows_and_empty_answers_are_refused():
    with pytest.raises(ValueError, match="max_length=100 and stride=90"):
        question_answering([ADA], BertLike(), max_length=100, stride=90)
    with pytest.raises(ValueError, match="record 1: the answer '\\\\x00' holds no word"):
        question_answering([ADA | {"context": "a \0 b", "answers": ["\0"], "answer_start": [2]}], BertLike())


def test_texts_of_batches_are_readable():
    found = question_answering([ADA], BertLike())
    (batch,) = found.batches(1, shuffle=False, repeat=False)
    assert letters(batch[features.TOKEN_IDS][0]).rstrip("_") == "[Who?]ItwasAda.]"
