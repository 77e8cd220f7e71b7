"""Files of questions about texts in, records out, checked; pure Python.

    .json    SQuAD 1.1 and 2.0: data -> paragraphs (context) -> qas (id, question, answers, is_impossible)
    .jsonl   one object a line: question, context, answers, answer_start; "answers": [], or is_impossible: the text holds none;
             so .ndjson, .parquet, tables, where an empty cell is [], and .json with such objects
    .gz .zst .bz2 .xz after any of them but .parquet: the same, compressed

Source: Rajpurkar et al., arXiv 1606.05250 and 1806.03822.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Real
from typing import Any

from tfllm.corpus.formats import PathLike, format_of, suffix_of
from tfllm.corpus.lines import read_lines
from tfllm.corpus.records import json_shape
from tfllm.data.labelled.text_files import Row, Source, check_utf8, name_of, parts_of, read_rows, string_of


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the text it is asked of, and the accepted answers with their first characters; none: unanswerable."""

    id: str
    question: str
    context: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]
    place: str


def read_questions(source: Source) -> list[Question]:
    """Questions of a SQuAD file, a JSONL file, or mappings like a JSONL file's lines.

        {"question": "Who?", "context": "It was Ada.", "answers": ["Ada"], "answer_start": [7]}, line 1
        -> Question("1", "Who?", "It was Ada.", ("Ada",), (7,), "train.jsonl, line 1")

    A single answer may stand without its list, as "answers" or "answer"; {"answers": {"text": […], "answer_start": […]}} and
    SQuAD's own {"answers": [{"text": …, "answer_start": …}]} are read, too. Answers of what is_impossible are left out.

    Raises:
        ValueError: a field is missing, empty or of another type; neither answers nor is_impossible is there; an answer is not
            at its offset; an id comes twice; there is no question.
    """
    questions: dict[str, Question] = {}
    for number, row in enumerate(_rows(source), 1):
        question = _question(row, number)
        if question.id in questions:
            raise ValueError(
                f"{row.place}: the id {question.id!r} was already used at {questions[question.id].place}. Give each question "
                "its own id."
            )
        questions[question.id] = question
    if not questions:
        raise ValueError(f"{name_of(source)} holds no question. Give at least one.")
    return list(questions.values())


def _rows(source: Source) -> Iterator[Row]:
    for part in parts_of(source):
        if not isinstance(part, list) and suffix_of(part) == ".json":
            first = json_shape(part, format_of(part).compression).first
            if not (isinstance(first, dict) and "question" in first):
                yield from _squad_rows(part)
                continue
        yield from read_rows(part)


def _question(row: Row, number: int) -> Question:
    texts = [string_of(row, column) for column in ("question", "context")]
    for column, text in zip(("question", "context"), texts, strict=True):
        if not text.strip():
            raise ValueError(f"{row.place}: the {column} is empty. Fill it, or remove the record.")
    answers, starts = ([], []) if _is_impossible(row) else _answers(row)
    if len(answers) != len(starts):
        raise ValueError(
            f"{row.place}: {len(answers)} answers and {len(starts)} answer_start: expected one for each answer. Give as many "
            "of both."
        )
    for answer, start in zip(answers, starts, strict=True):
        _check_answer(row, texts[1], answer, start)
    id = row.columns.get("id")
    id = str(number if id is None else id)
    return Question(id, texts[0], texts[1], tuple(answers), tuple(int(float(start)) for start in starts), row.place)


def _is_impossible(row: Row) -> bool:
    value = row.columns.get("is_impossible")
    said = {"true": True, "1": True, "false": False, "0": False, "none": False, "": False}.get(str(value).casefold())
    if said is None:
        raise ValueError(f"{row.place}: is_impossible is {value!r:.60}: expected true or false.")
    return said


def _answers(row: Row) -> tuple[list[Any], list[Any]]:
    """Answers and their first characters, however they are nested."""
    columns = row.columns
    name = "answer" if "answer" in columns and "answers" not in columns else "answers"
    nested = columns.get(name)
    if name not in columns:
        raise ValueError(f"{row.place}: no answers are given: there is no {name!r}, only {_alike(columns, [name])}. {_NONE}")
    if isinstance(nested, Mapping) and not nested.keys() >= {"text", "answer_start"}:
        holds = _alike(nested, ["text", "answer_start"])
        raise ValueError(f"{row.place}: {name!r} holds {holds}: expected 'text' and 'answer_start'. {_NONE}")
    if isinstance(nested, (list, tuple)) and any(isinstance(one, Mapping) for one in nested):
        objects = [one if isinstance(one, Mapping) else {"text": one} for one in nested]
        return [one.get("text") for one in objects], [one.get("answer_start") for one in objects]
    holder = nested if isinstance(nested, Mapping) else {"text": nested, "answer_start": columns.get("answer_start")}
    return _listed(holder.get("text")), _listed(holder.get("answer_start"))


_NONE = 'Give "answers" and "answer_start", or, where there is no answer, "answers": [] or "is_impossible": true.'


def _alike(there: Mapping[str, Any], wanted: list[str]) -> str:
    """What is there, and what it may be. "answer_text": … -> 'answer_text' (perhaps 'answers')"""
    near = ((key, get_close_matches(str(key), wanted, 1)) for key in there)
    listed = (f"{key!r} (perhaps {found[0]!r})" if found and key not in wanted else repr(key) for key, found in near)
    return ", ".join(listed) or "nothing"


def _check_answer(row: Row, context: str, answer: Any, start: Any) -> None:
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError(
            f"{row.place}: the answer is {answer!r:.60}: expected a string with at least one character. Where there is no "
            "answer, give an empty list."
        )
    if not _is_whole(start):
        raise ValueError(
            f"{row.place}: answer_start is {start!r:.60}: expected the index of the answer's first character in the context."
        )
    begin = int(float(start))
    there = context[begin : begin + len(answer)] if begin >= 0 else ""
    if there != answer:
        where = context.find(answer)
        hint = (
            f"It begins at {where} (characters, not bytes)."
            if where >= 0
            else "The context does not contain it. Correct one of them."
        )
        raise ValueError(
            f"{row.place}: the context has {there!r:.60} at character {start}: expected the answer {answer!r:.60}. {hint}"
        )


def _is_whole(value: Any) -> bool:
    """7  "7"  "7.0" (pandas beside gaps) -> True     "seven" -> False"""
    if isinstance(value, str):
        return re.fullmatch(r"[0-9]+(\.0*)?", value) is not None
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and float(value).is_integer()


def _listed(value: Any) -> list[Any]:
    value = value.tolist() if hasattr(value, "tolist") else value
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _squad_rows(path: PathLike) -> Iterator[Row]:
    text = "".join(line for _, line in read_lines(path))
    try:
        file = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: bad JSON at column {error.colno} ({error.msg}). Correct it.") from None
    for article, paragraphs in enumerate(_list_in(file, "data", str(path))):
        of_article = f"{path}, data[{article}]"
        for number, paragraph in enumerate(_list_in(paragraphs, "paragraphs", of_article)):
            of_paragraph = f"{of_article}.paragraphs[{number}]"
            for count, asked in enumerate(_list_in(paragraph, "qas", of_paragraph)):
                place = f"{of_paragraph}.qas[{count}]"
                columns = {**asked, "id": asked.get("id", place), "context": paragraph.get("context")}
                yield Row(columns, f"{place} (id {check_utf8(str(columns['id']), place)})")


def _list_in(value: Any, name: str, place: str) -> list[Any]:
    """The list of objects under a name, or an error that says what is there."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and "qas" in value[0]:
        raise ValueError(f'{place}: a list of paragraphs. Wrap it as SQuAD does: {{"data": [{{"paragraphs": […]}}]}}.')
    if name == "paragraphs" and isinstance(value, dict) and "question" in value:
        raise ValueError(
            f"{place}: a flat record, which is not SQuAD's format. Write only the list under 'data', without the object "
            "around it."
        )
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(
            f"{place}: {name!r} is {found!r:.60}: expected a list of objects, as in SQuAD. Give a file of JSON lines the "
            "suffix .jsonl."
        )
    return found
