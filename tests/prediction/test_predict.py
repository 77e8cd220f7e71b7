"""What models say of texts, against the same found on another way: in Python, from the rows that training reads."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
from encoders import ENTITIES, OTHERS, TEXTS, columns, strong
from entity_reference import entities

import tfllm
from tfllm import data
from tfllm.data.labelled.conll_files import Sentence
from tfllm.models.question_answerer import LONGEST_ANSWER
from tfllm.prediction import batched_map, fill_mask
from tfllm.prediction.fill_mask import CHOICES
from tfllm.prediction.question_answering import best_spans
from tfllm.text.words import split_words


def scores_of(model, rows: data.Labelled, batch_size: int = 4) -> np.ndarray:
    """What `model.predict` says of labelled rows, padding left out; rows of a batch are as long as its longest."""
    parts = [np.asarray(model(batch)) for batch in rows.batches(batch_size, shuffle=False, repeat=False)]
    width = max(part.shape[-1] for part in parts)
    if parts[0].ndim == 3:
        parts = [np.pad(part, [(0, 0), (0, 0), (0, width - part.shape[-1])], constant_values=-1e9) for part in parts]
    return np.concatenate(parts)[: len(rows)]


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


NOT_EMPTY = [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", ["text_classifier", "text_classifier of pairs", "several labels"])
def test_labels_are_those_of_the_rows_that_training_reads(name, tokenizer):
    model = strong(name, tokenizer)
    found = tfllm.predict(model, tokenizer, *columns(model), batch_size=4)
    asked = [i for i in NOT_EMPTY if OTHERS[i] or not model.pairs]
    records = [{"text": TEXTS[i], "text_pair": OTHERS[i], "label": [] if model.multi_label else model.labels[0]} for i in asked]
    pair = "text_pair" if model.pairs else None
    rows = data.text_classification(
        records, tokenizer, pair=pair, labels=model.labels, multi_label=model.multi_label, max_length=model.config.max_length
    )
    scores = scores_of(model, rows)
    expected = 1 / (1 + np.exp(-scores)) if model.multi_label else softmax(scores)
    for i, probabilities in zip(asked, expected, strict=True):
        np.testing.assert_allclose(found[i]["probabilities"], probabilities, rtol=1e-4, atol=1e-6)
        assert found[i]["labels"] == list(model.labels)
        assert found[i]["label"] == model.labels[int(np.argmax(probabilities))]
        assert found[i]["score"] == max(found[i]["probabilities"])
    assert np.ptp([each["probabilities"][0] for each in found]) > 0.01, "all texts are alike: the test proves little"


def test_numbers_and_vectors_are_those_of_the_rows(tokenizer):
    regressor, embedder = strong("text_regressor", tokenizer), strong("text_embedder", tokenizer)
    rows = data.regression([{"text": TEXTS[i], "label": 0.0} for i in NOT_EMPTY], tokenizer, max_length=48)
    values = [each["value"] for each in tfllm.predict(regressor, tokenizer, TEXTS)]
    np.testing.assert_allclose(np.array(values)[NOT_EMPTY], scores_of(regressor, rows), rtol=1e-4, atol=1e-5)
    vectors = np.array([each["embedding"] for each in tfllm.predict(embedder, tokenizer, TEXTS)])
    np.testing.assert_allclose(vectors[NOT_EMPTY], scores_of(embedder, rows), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose((vectors**2).sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [
        ("token_classifier", "wordpiece"),
        pytest.param("parts of speech", "bytes", marks=pytest.mark.slow),
        pytest.param("token_classifier", "bytes", marks=pytest.mark.slow),
        pytest.param("parts of speech", "wordpiece", marks=pytest.mark.slow),
    ],
    indirect=["tokenizer"],
)
def test_entities_are_those_of_the_words_that_training_reads(name, tokenizer, monkeypatch):
    """Words, their rows and the run of labels are found here in Python; long texts in several rows, and those in batches."""
    monkeypatch.setattr(batched_map, "ROWS", 3)
    model = strong(name, tokenizer)
    found = tfllm.predict(model, tokenizer, TEXTS)
    assert found[0] == {"text": [], "label": [], "start": [], "end": [], "score": []}
    words = split_words(tf.constant(TEXTS), keep_spaces=False)
    # Training data has one space at a time; a tokenizer that keeps spaces reads two as two.
    for i in [i for i in NOT_EMPTY if not (tokenizer.keeps_spaces and "  " in TEXTS[i])]:
        starts, ends = words.starts[i].numpy(), words.ends[i].numpy()
        spelled = [TEXTS[i][start:end] for start, end in zip(starts, ends, strict=True)]
        spaced = [*(TEXTS[i][a:b] != "" for a, b in zip(ends[:-1], starts[1:], strict=True)), False]
        sentence = Sentence(tuple(spelled), (model.labels[0],) * len(spelled), tuple(spaced), "here")
        rows = data.tagging([sentence], tokenizer, labels=model.labels, max_length=48)
        per_row = [softmax(np.asarray(model(batch))[0]) for batch in rows.batches(1, shuffle=False, repeat=False)]
        at_words = np.array([per_row[row][place] for row, place in zip(rows.word_rows, rows.word_places, strict=True)])
        tags = [model.labels[k] for k in at_words.argmax(-1)]
        if name == "parts of speech":
            assert (found[i]["text"], found[i]["label"]) == (spelled, tags)
            assert (found[i]["start"], found[i]["end"]) == (starts.tolist(), ends.tolist())
            continue
        expected = entities(TEXTS[i], starts.tolist(), ends.tolist(), tags, at_words.max(-1).tolist())
        assert [*zip(*(found[i][key] for key in ("label", "start", "end", "text")), strict=True)] == [
            (each.label, each.start, each.end, each.text) for each in expected
        ]
        np.testing.assert_allclose(found[i]["score"], [each.score for each in expected], rtol=1e-4)
    assert sum(len(each["text"]) for each in found) > 20


def test_runs_of_labels_become_entities(monkeypatch):
    from tfllm.prediction import token_classification as module

    text = "a b c d e f g"
    tags = ["I-PER", "I-PER", "B-PER", "I-LOC", "O", "B-LOC", "I-LOC"]
    said = module.Tags(tf.constant([ENTITIES.index(tag) for tag in tags]), tf.constant([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]))
    found = module._entities(split_words(tf.constant([text]), keep_spaces=False), said, ENTITIES)
    plain = {key: value.to_list()[0] for key, value in found.items()}
    assert plain["label"] == [b"PER", b"PER", b"LOC", b"LOC"]
    assert (plain["start"], plain["end"]) == ([0, 4, 6, 10], [3, 5, 7, 13])
    np.testing.assert_allclose(plain["score"], [0.8, 0.7, 0.6, 0.3])


def test_answers_are_those_of_the_windows_that_training_reads(tokenizer, monkeypatch):
    """Long contexts too, in chunks of windows; the best span of each window is found here by looking at all of them."""
    monkeypatch.setattr(batched_map, "ROWS", 3)
    model = strong("question_answerer", tokenizer)
    found = tfllm.predict(model, tokenizer, OTHERS, TEXTS)
    asked = [i for i in NOT_EMPTY if OTHERS[i] and TEXTS[i].strip()]
    records = [{"id": str(i), "question": OTHERS[i], "context": TEXTS[i], "answers": []} for i in asked]
    rows = data.question_answering(records, tokenizer, max_length=48, stride=16)
    scores = scores_of(model, rows)
    starts, ends, best = [], [], []
    for first, last in scores:
        spans = {
            (a, b): first[a] + last[b] for a in range(1, len(first)) for b in range(a, min(len(first), a + LONGEST_ANSWER))
        }
        (start, end), score = max(spans.items(), key=lambda span: span[1])
        starts.append(start), ends.append(end), best.append(score)
    expected = rows.answers(np.array(starts), np.array(ends), np.array(best), scores[:, 0, 0] + scores[:, 1, 0])
    for i, answer in zip(asked, expected, strict=True):
        assert (found[i]["answer"], found[i]["start"], found[i]["end"]) == (answer.text, answer.start, answer.end)
        np.testing.assert_allclose(found[i]["score"], answer.score, rtol=1e-3, atol=1e-4)
        assert TEXTS[i][answer.start : answer.end] == answer.text
    assert found[0]["answer"] == "" and any(each["answer"] for each in found)


def test_the_best_span_goes_forward_and_is_not_too_long():
    scores = np.full((1, 2, 40), -10.0, np.float32)
    scores[0, 0, [0, 2, 35]], scores[0, 1, [0, 1, 3, 36]] = [9, 5, 1], [9, 8, 3, 8.5]
    spans = best_spans(tf.constant(scores), LONGEST_ANSWER)
    assert [int(spans[key][0]) for key in ("start", "end", "score")] == [35, 36, 9]


def test_masks_are_filled(tokenizer):
    model = strong("masked_lm", tokenizer)
    found = tfllm.predict(model, tokenizer, TEXTS)
    assert [len(each["token"]) for each in found] == [0, 0, 0, 0, 2, 0]
    assert all(len(choices) == CHOICES and sorted(choices, reverse=True) == choices for choices in found[4]["score"])
    ids = [
        tokenizer.cls_id,
        tokenizer.mask_id,
        *tokenizer.encode(" is the "),
        tokenizer.mask_id,
        *tokenizer.encode("."),
        tokenizer.sep_id,
    ]
    probabilities = softmax(np.asarray(model({"token_ids": tf.constant([ids])}))[0])
    for place, tokens, scores in zip(
        np.flatnonzero(np.array(ids) == tokenizer.mask_id), *(found[4][k] for k in ("token", "score")), strict=True
    ):
        best = np.argsort(-probabilities[place])[:CHOICES]
        assert tokens == [tokenizer.id_to_piece(int(id)) for id in best]
        np.testing.assert_allclose(scores, probabilities[place][best], rtol=1e-4)
        ids[place] = int(best[0])
    assert found[4]["text"] == tokenizer.decode(ids)


def test_an_answer_as_good_as_none_is_given_as_in_evaluation(wordpiece):
    """All scores alike: the gain is 0, not below."""
    model = strong("question_answerer", wordpiece)
    model.head.kernel.assign(tf.zeros_like(model.head.kernel))
    [found] = tfllm.predict(model, wordpiece, ["Who?"], ["Ada Byron"])
    assert found["score"] == 0 and found["answer"].startswith("Ada")


def test_a_tokenizer_without_a_mask_is_named(wordpiece, monkeypatch):
    model = strong("masked_lm", wordpiece)
    monkeypatch.setattr(wordpiece, "mask_id", None)
    with pytest.raises(ValueError, match="expected a tokenizer with a mask token"):
        tfllm.predict(model, wordpiece, ["a"])


def test_rows_of_a_batch_do_not_matter_to_each_other(wordpiece):
    model = strong("text_classifier", wordpiece)
    together = tfllm.predict(model, wordpiece, TEXTS, batch_size=6)
    for text, expected in zip(TEXTS, together, strict=True):
        [alone] = tfllm.predict(model, wordpiece, text)
        np.testing.assert_allclose(alone["probabilities"], expected["probabilities"], rtol=1e-4, atol=1e-6)


def test_reading_less_of_a_text_is_noticed(wordpiece):
    model = strong("text_classifier", wordpiece)
    texts = ["Ada wrote the program in London", "Ada wrote the program in text"]

    def apart() -> float:
        first, second = (each["probabilities"] for each in tfllm.predict(model, wordpiece, texts))
        return float(np.abs(np.subtract(first, second)).max())

    assert apart() > 1e-3
    model.set_max_length(6)
    assert apart() < 1e-6


def test_models_are_not_kept_alive(wordpiece):
    model = strong("text_embedder", wordpiece)
    tfllm.predict(model, wordpiece, "Ada")
    left = weakref.ref(model)
    del model
    gc.collect()
    assert left() is None


def test_a_model_without_kinds_of_text_reads_pairs(tokenizer):
    model = strong("text_classifier of pairs", tokenizer, num_types=1)
    assert len(tfllm.predict(model, tokenizer, *columns(model))) == len(TEXTS)


def test_what_does_not_fit_is_refused(wordpiece):
    model = strong("question_answerer", wordpiece)
    with pytest.raises(ValueError, match=r"expected 2 for this QuestionAnswerer \(question and context\), got 1"):
        tfllm.predict(model, wordpiece, ["a", "b"])
    with pytest.raises(ValueError, match="expected as many rows of question and context, got 2, 1"):
        tfllm.predict(model, wordpiece, ["a", "b"], ["c"])
    with pytest.raises(ValueError, match="batch_size=-1 is invalid: expected at least 1"):
        tfllm.predict(model, wordpiece, "a", "b", batch_size=-1)
    with pytest.raises(ValueError, match="the tokenizer is not this model's"):
        tfllm.predict(model, tfllm.tokenizers.ByteTokenizer(), "a", "b")
    with pytest.raises(ValueError, match=r"model=CausalLM is invalid: expected one of MaskedLM, .* Call tfllm\.generate"):
        tfllm.predict(tfllm.CausalLM(tfllm.preset("gpt2-tiny")), wordpiece, "a")


def test_a_mask_behind_the_cut_is_answered_from_a_later_window(tokenizer, monkeypatch):
    """As in a text that is the mask's window, and none is passed over; texts before and behind do not matter."""
    monkeypatch.setattr(batched_map, "ROWS", 2)
    model = strong("masked_lm", tokenizer)
    text = "[MASK] was Ada, " + "later Lady Lovelace, " * 12 + "[MASK] wrote the [MASK] program" + " in London" * 9 + " [MASK]"
    short, long, none = tfllm.predict(model, tokenizer, ["Ada [MASK]", text, "word " * 60])
    assert [len(found["token"]) for found in (short, long, none)] == [1, 4, 0]
    [alone] = tfllm.predict(model, tokenizer, "Ada [MASK]")
    assert (short["token"], short["text"]) == (alone["token"], alone["text"])
    assert none["text"].split() == ["word"] * 60
    pieces = [tokenizer.encode(part) for part in text.split("[MASK]")]
    ids = np.array([id for part in pieces for id in (*part, tokenizer.mask_id)][:-1])
    room = model.max_length - 2
    for number, place in enumerate(np.flatnonzero(ids == tokenizer.mask_id)):
        start = min(max(place - room // 4, 0) // (room // 2) * (room // 2), len(ids) - room)
        row = [tokenizer.cls_id, *ids[start : start + room], tokenizer.sep_id]
        probabilities = softmax(np.asarray(model({"token_ids": tf.constant([row])}))[0])[1 + place - start]
        best = np.argsort(-probabilities)[:CHOICES]
        assert long["token"][number] == [tokenizer.id_to_piece(int(id)) for id in best]
        np.testing.assert_allclose(long["score"][number], probabilities[best], rtol=1e-4)
        assert min(place, 8) <= place - start < room and min(len(ids) - 1 - place, 8) <= start + room - place


def test_windows_of_masks_as_in_the_docstring():
    found = fill_mask._windows(
        tf.ragged.constant([[1, 2, 3, 4, 0, 6, 0]], tf.int32, row_splits_dtype=tf.int64), tf.constant([4, 6]), 4
    )
    assert (found.ids.to_list(), found.masks.to_list()) == ([[3, 4, 0, 6], [4, 0, 6, 0]], [[2], [3]])


def test_answers_may_be_as_long_as_those_that_were_learnt(wordpiece):
    context = "word " * 60
    records = [{"question": "x", "context": context, "answers": [context[:200].strip()], "answer_start": [0]}]
    rows = data.question_answering(records, wordpiece, max_length=300, stride=99)
    model = strong("question_answerer", wordpiece, max_length=300)
    assert rows.longest_answer > 30 and "longest_answer" not in model.settings()
    model.set_lengths_of(rows)
    assert model.longest_answer == model.settings()["longest_answer"] == rows.longest_answer
    scores = np.full((1, 2, 300), -10.0, np.float32)
    scores[0, 0, 2], scores[0, 1, 1 + rows.longest_answer] = 9, 9
    spans = best_spans(tf.constant(scores), model.longest_answer)
    assert [int(spans[key][0]) for key in ("start", "end")] == [2, 1 + rows.longest_answer]
