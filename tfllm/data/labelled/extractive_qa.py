"""Data for extractive question answering: the answer to a question is a span of a given context.

In: SQuAD files, JSON lines or records. Out: `Questions`, tokenized rows of a question and a window of its context, with the
first and the last token of the answer.
Source: Devlin et al. 2018 (arXiv 1810.04805), section 4.2 and 4.3; SQuAD (arXiv 1606.05250, 1806.03822).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfllm import features, tokenizers
from tfllm.data.encoder_inputs import context_windows, question_limit
from tfllm.data.labelled.question_files import Question, read_questions
from tfllm.data.labelled.rows import Flat, Labelled
from tfllm.data.labelled.text_files import Source, name_of
from tfllm.text.token_offsets import token_offsets
from tfllm.text.words import split_words, word_pieces
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.truncation import num_special_tokens

_CHUNK = 512


@dataclass(frozen=True)
class Answer:
    """A part of a context, by characters; text "" where the context holds no answer."""

    text: str
    start: int
    end: int
    score: float
    """How much better than no answer."""


@dataclass(frozen=True, eq=False)
class Contexts:
    """Pieces of contexts, one row each, with the characters that each piece spells."""

    ids: Flat
    starts: np.ndarray
    """int32 [all pieces]."""
    ends: np.ndarray
    """int32 [all pieces]."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Questions(Labelled):
    """Rows of a question and a window of its context; `records` are the questions."""

    contexts: Contexts
    context_of: np.ndarray
    """int32 [records]: the context of each question; equal ones are kept once."""
    windows: np.ndarray
    """int32 [N]: the window's first piece in its context."""
    stride: int
    """Ids of the context that neighbouring rows share."""
    exact: np.ndarray
    """bool [records]: a model can answer just as the record does: it says that there is no answer, or its answer begins and
    ends between two pieces and stands whole in a row."""
    longest_answer: int
    """Tokens of the longest answer that a row holds; 0: none holds any."""

    def characters(self, row: int, start: int, end: int) -> slice:
        """The characters of the context from the piece at place `start` of a row to the one at `end`, both taken in.

            context "It was Ada.", places [CLS] Who ? [SEP] It was Ada . [SEP], start 6, end 6 -> slice(7, 10)

        Raises:
            ValueError: a place shows no part of the context.
        """
        offset = self.contexts.ids.splits[self.context_of[self.record_of[row]]] + self.windows[row] - self._shown_from(row)
        assert self.second is not None
        last = self._shown_from(row) + self.second.lengths[row] - 1
        if not self._shown_from(row) <= start <= end <= last:
            raise ValueError(
                f"row {row}: start={start}, end={end} is invalid: expected positions of the context, {self._shown_from(row)} "
                f"to {last}, start first."
            )
        return slice(int(self.contexts.starts[offset + start]), int(self.contexts.ends[offset + end]))

    def answers(
        self, starts: np.ndarray, ends: np.ndarray, scores: np.ndarray, none_scores: np.ndarray, *, threshold: float = 0.0
    ) -> list[Answer]:
        """One answer a question, of its rows' best: the best of all, unless no answer beats it by more than the threshold.

            rows 0 1 of a question: scores 3 5, none_scores 4 2 -> row 1; score 5 - 2
            scores 1 2, none_scores 4 3                         -> none;  score 2 - 3

        Source: Devlin et al. 2018, section 4.3: no answer scores as in the window that wants it least.

        Args:
            starts, ends: int [N], places of each row's best answer.
            scores: float [N], of that answer.
            none_scores: float [N], of place 0 as start and end.
        """
        best, none = np.full(len(self.records), -1), np.full(len(self.records), np.inf)
        for row, record in enumerate(self.record_of):
            if best[record] < 0 or scores[row] > scores[best[record]]:
                best[record] = row
            none[record] = min(none[record], none_scores[row])
        found = []
        for record, (row, score_of_none) in enumerate(zip(best, none, strict=True)):
            gain = float(scores[row] - score_of_none)
            span = slice(0, 0) if -gain > threshold else self.characters(row, int(starts[row]), int(ends[row]))
            found.append(Answer(self.records[record].context[span], span.start, span.stop, gain))
        return found

    def _shown_from(self, row: int) -> int:
        """The place of the row where its window begins."""
        return int(1 + self.first.lengths[row] + self.tokenizer.pair_separators)


def question_answering(
    source: Source, tokenizer: Tokenizer | str | Path, *, max_length: int = 384, stride: int = 128
) -> Questions:
    """Rows of a question and as much of its context as fits; long contexts give several, overlapping rows.

        "Who?", "It was Ada.", answer "Ada" at 7, tokenizer of bytes -> one row:
        places       0     1 2 3 4  5     6 7   8 9 10 11  12 13 14 15  16  17
        token_ids    <cls> W h o ?  <sep> I t   _ w a  s   _  A  d  a   .   <sep>
        span_starts 12, span_ends 15: the pieces of " Ada"

    An answer is learnt as the pieces that hold a part of it. A row that does not hold all of them is labelled as without
    (both places 0). Where no row holds all of them, the question's rows have the weight 0 (ROW_WEIGHTS). Of several answers the
    first that a model can give exactly is learnt, else the first. A question loses its end where it would leave a long context
    less than two thirds of a row. Warnings say how many answers and questions are changed so.

    Args:
        source: SQuAD .json, .jsonl (question_files.py), or mappings.
        stride: ids of the context that neighbouring rows share.

    Raises:
        ValueError: names file and line; see question_files.py.
    """
    tokenizer = tokenizers.get(tokenizer)
    question_limit(tokenizer, max_length, stride)  # raises ValueError where windows cannot advance
    records = read_questions(source)
    distinct = {context: number for number, context in enumerate(dict.fromkeys(record.context for record in records))}
    contexts = _contexts(list(distinct), tokenizer)
    context_of = np.array([distinct[record.context] for record in records], np.int32)
    encoded = tokenizer.encode_batch([record.question for record in records])
    budget = max_length - num_special_tokens(tokenizer, pair=True)
    questions = Flat.of([ids[:budget] for ids in encoded])
    rows = _windows(questions, contexts.ids, context_of, tokenizer=tokenizer, max_length=max_length, stride=stride)
    targets = _targets(rows, records, contexts, context_of, tokenizer)
    result = Questions(
        task="question_answerer",
        tokenizer=tokenizer,
        max_length=max_length,
        records=records,
        record_of=rows.record_of,
        first=rows.questions,
        second=rows.contexts,
        row_features=targets.row_features,
        contexts=contexts,
        context_of=context_of,
        windows=rows.starts,
        stride=stride,
        exact=targets.exact,
        longest_answer=targets.longest_answer,
    )
    _warn(result, name_of(source), targets.shown_whole)
    _warn_of_cut_questions(result, name_of(source), np.array([len(ids) for ids in encoded]))
    return result


@dataclass(frozen=True)
class _Windows:
    """N rows: a question and a window of its context each."""

    record_of: np.ndarray
    """int32 [N]."""
    starts: np.ndarray
    """int32 [N]: the window's first piece in its context."""
    questions: Flat
    contexts: Flat


def _windows(
    questions: Flat, contexts: Flat, context_of: np.ndarray, *, tokenizer: Tokenizer, max_length: int, stride: int
) -> _Windows:
    """All questions with the windows of their contexts, some hundred questions at a time."""
    parts, first, second = [], [], []
    for begin in range(0, len(context_of), _CHUNK):
        chunk = np.arange(begin, min(begin + _CHUNK, len(context_of)))
        windows = context_windows(
            _ragged(questions, chunk),
            _ragged(contexts, context_of[chunk]),
            tokenizer=tokenizer,
            max_length=max_length,
            stride=stride,
        )
        first.append(_flat(windows.questions))
        second.append(_flat(windows.contexts))
        parts.append(np.stack([windows.texts.numpy() + begin, windows.starts.numpy()]))
    record_of, starts = np.concatenate(parts, axis=1).astype(np.int32)
    return _Windows(record_of, starts, Flat.joined(first), Flat.joined(second))


@dataclass(frozen=True)
class _Targets:
    """What the rows are trained on, and which records are trained on exactly."""

    row_features: dict[str, np.ndarray]
    shown_whole: np.ndarray
    """bool [records]: a row holds the whole answer, or there is none."""
    exact: np.ndarray
    """bool [records]: see `Questions`."""
    longest_answer: int


def _targets(
    rows: _Windows, records: Sequence[Question], contexts: Contexts, context_of: np.ndarray, tokenizer: Tokenizer
) -> _Targets:
    """The places of the answers in the rows; both places are 0 where a row does not hold the whole answer."""
    learnt = [_learnt(record, contexts, context) for record, context in zip(records, context_of, strict=True)]
    spans = np.array([answer.span for answer in learnt])[rows.record_of]
    held = (spans[:, 0] >= rows.starts) & (spans[:, 1] < rows.starts + rows.contexts.lengths)
    shown_from = 1 + rows.questions.lengths + tokenizer.pair_separators
    places = np.where(held[:, None], spans - rows.starts[:, None] + shown_from[:, None], 0).astype(np.int32)
    shown_whole = ~np.array([bool(record.answers) for record in records])
    shown_whole[rows.record_of[held]] = True
    weights = {} if shown_whole.all() else {features.ROW_WEIGHTS: shown_whole[rows.record_of].astype(np.float32)}
    return _Targets(
        row_features={features.SPAN_STARTS: places[:, 0], features.SPAN_ENDS: places[:, 1]} | weights,
        shown_whole=shown_whole,
        exact=shown_whole & np.array([answer.exact for answer in learnt]),
        longest_answer=int((places[:, 1] - places[:, 0] + 1)[held].max(initial=0)),
    )


def _warn_of_cut_questions(rows: Questions, source: str, lengths: np.ndarray) -> None:
    """Warns of questions that are longer, int [records], than what their rows show of them."""
    shown = rows.first.lengths[np.unique(rows.record_of, return_index=True)[1]]
    if (cut := lengths > shown).any():
        warnings.warn(
            f"{source}: {cut.sum()} of {len(rows.records)} questions are too long and lose their ends: give a larger "
            f"max_length (now {rows.max_length}). The first: {rows.records[int(np.argmax(cut))].place}",
            stacklevel=3,
        )


def _warn(rows: Questions, source: str, shown_whole: np.ndarray) -> None:
    """Of answers that no model can give exactly."""
    inside, answers = ~rows.exact & shown_whole, sum(bool(record.answers) for record in rows.records)
    for missing, reason in (
        (inside, "begin or end inside a token, and are trained on with the whole token"),
        (
            ~shown_whole,
            f"do not fit in one window, and are not trained on: give a larger max_length (now {rows.max_length}) or stride "
            f"(now {rows.stride})",
        ),
    ):
        if missing.any():
            record = rows.records[int(np.argmax(missing))]
            first = f"{record.place}, {record.answers[0]!r:.60}"
            warnings.warn(f"{source}: {missing.sum()} of {answers} answers {reason}. The first: {first}", stacklevel=3)


def _flat(rows: tf.RaggedTensor) -> Flat:
    return Flat(rows.values.numpy(), rows.row_splits.numpy().astype(np.int64))


def _contexts(texts: Sequence[str], tokenizer: Tokenizer) -> Contexts:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def cut(texts: tf.Tensor) -> dict[str, tf.Tensor]:
        words = split_words(texts, keep_spaces=tokenizer.keeps_spaces)
        pieces = word_pieces(words.strings, tokenizer, None)
        spans = token_offsets(words, pieces, tokenizer)
        return {"ids": pieces.ids.values, "splits": pieces.ids.row_splits, "starts": spans.starts, "ends": spans.ends}

    chunks = (texts[begin : begin + _CHUNK] for begin in range(0, len(texts), _CHUNK))
    made = [{name: value.numpy() for name, value in cut(tf.constant(chunk)).items()} for chunk in chunks]
    return Contexts(
        ids=Flat.joined([Flat(part["ids"], part["splits"].astype(np.int64)) for part in made]),
        starts=np.concatenate([part["starts"] for part in made]),
        ends=np.concatenate([part["ends"] for part in made]),
    )


@dataclass(frozen=True)
class _Learnt:
    """What is learnt of a record."""

    span: tuple[int, int]
    """First and last piece in the context; -1 -1 where there is no answer."""
    exact: bool
    """These pieces are the answer, no more."""


def _learnt(question: Question, contexts: Contexts, context: int) -> _Learnt:
    """The pieces that hold a part of the answer: of the first that they spell exactly, else of the first."""
    found = []
    begin, end = contexts.ids.splits[context : context + 2]
    starts, ends = contexts.starts[begin:end], contexts.ends[begin:end]
    for answer, start in zip(question.answers, question.starts, strict=True):
        first = int(np.searchsorted(ends, start, side="right"))
        last = int(np.searchsorted(starts, start + len(answer), side="left")) - 1
        if first > last:
            raise ValueError(f"{question.place}: the answer {answer!r:.60} holds no word. Correct it, or remove it.")
        exact = question.context[starts[first] : ends[last]] == answer.strip()
        found.append(_Learnt((first, last), exact))
    return next((each for each in found if each.exact), found[0]) if found else _Learnt((-1, -1), True)


def _ragged(flat: Flat, rows: np.ndarray) -> tf.RaggedTensor:
    """int32 [len(rows), (ids)]."""
    return tf.gather(tf.RaggedTensor.from_row_splits(flat.values, flat.splits, validate=False), rows)
