"""Files of questions in, tokenized rows of question and context out, with the places of the answers."""

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
            raise ValueError(f"row {row}: the answer at places {start} to {end}; accepted: {self._shown_from(row)} to {last}.")
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
    (both places 0); where no row does, the question's rows count nothing (ROW_WEIGHTS 0). Of several answers the first that a
    model can give exactly is learnt, else the first. A question that leaves a long context less than two thirds of a row's
    places loses its end. How many answers and questions that is, is warned of.

    Args:
        source: SQuAD .json, .jsonl (question_files.py), or mappings.
        stride: ids of the context that neighbouring rows share.

    Raises:
        ValueError: names file and line; see question_files.py.
    """
    tokenizer = tokenizers.get(tokenizer)
    question_limit(tokenizer, max_length, stride)  # refuses what has no place
    records = read_questions(source)
    distinct = {context: number for number, context in enumerate(dict.fromkeys(record.context for record in records))}
    contexts = _contexts(list(distinct), tokenizer)
    context_of = np.array([distinct[record.context] for record in records], np.int32)
    budget = max_length - num_special_tokens(tokenizer, pair=True)
    questions = tokenizer.encode_batch([record.question for record in records])
    asked = Flat.of([ids[:budget] for ids in questions])
    parts, first, second = [], [], []
    for begin in range(0, len(records), _CHUNK):
        chunk = np.arange(begin, min(begin + _CHUNK, len(records)))
        windows = context_windows(
            _ragged(asked, chunk),
            _ragged(contexts.ids, context_of[chunk]),
            tokenizer=tokenizer,
            max_length=max_length,
            stride=stride,
        )
        first.append(_flat(windows.questions))
        second.append(_flat(windows.contexts))
        parts.append(np.stack([windows.texts.numpy() + begin, windows.starts.numpy()]))
    record_of, starts = np.concatenate(parts, axis=1).astype(np.int32)
    asked, shown = Flat.joined(first), Flat.joined(second)
    learnt = [_learnt(record, contexts, context) for record, context in zip(records, context_of, strict=True)]
    spans = np.array([answer.span for answer in learnt])
    held = (spans[record_of, 0] >= starts) & (spans[record_of, 1] < starts + shown.lengths)
    lost = np.array([len(ids) for ids in questions]) > asked.lengths[np.unique(record_of, return_index=True)[1]]
    places = spans[record_of] - starts[:, None] + (1 + asked.lengths + tokenizer.pair_separators)[:, None]
    places = np.where(held[:, None], places, 0).astype(np.int32)
    answered = np.array([bool(record.answers) for record in records])
    shown_whole = ~answered
    shown_whole[record_of[held]] = True
    exact = shown_whole & np.array([answer.exact for answer in learnt])
    weights = {} if shown_whole.all() else {features.ROW_WEIGHTS: shown_whole[record_of].astype(np.float32)}
    rows = Questions(
        task="question_answerer",
        tokenizer=tokenizer,
        max_length=max_length,
        records=records,
        record_of=record_of,
        first=asked,
        second=shown,
        row_features={features.SPAN_STARTS: places[:, 0], features.SPAN_ENDS: places[:, 1]} | weights,
        contexts=contexts,
        context_of=context_of,
        windows=starts,
        stride=stride,
        exact=exact,
        longest_answer=int((places[:, 1] - places[:, 0] + 1)[held].max(initial=0)),
    )
    _warn(rows, name_of(source), shown_whole)
    if lost.any():
        place = records[int(np.argmax(lost))].place
        warnings.warn(
            f"{name_of(source)}: {lost.sum()} of {len(records)} questions lose their ends beside a long context: give a larger "
            f"max_length ({max_length}). The first: {place}",
            stacklevel=2,
        )
    return rows


def _warn(rows: Questions, source: str, shown_whole: np.ndarray) -> None:
    """Of answers that no model can give exactly."""
    inside, answers = ~rows.exact & shown_whole, sum(bool(record.answers) for record in rows.records)
    for missing, reason in (
        (inside, "begin or end inside a piece of the tokenizer, and are learnt with the rest of it"),
        (
            ~shown_whole,
            f"are in no window whole, and not learnt: give a larger max_length ({rows.max_length}) or stride ({rows.stride})",
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
