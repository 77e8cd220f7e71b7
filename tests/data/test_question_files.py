"""Files of questions: SQuAD's two versions, JSON lines, and that every wrong answer is named."""

import json
import lzma
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tfllm.data.labelled.question_files import Question, read_questions

ADA = {"question": "Who?", "context": "It was Ada.", "answers": ["Ada"], "answer_start": [7]}


def squad(tmp_path, **changes):
    asked = {"id": "q1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 7}], **changes}
    content = {"version": "2.0", "data": [{"title": "T", "paragraphs": [{"context": "It was Ada.", "qas": [asked]}]}]}
    (tmp_path / "t.json").write_text(json.dumps(content))
    return tmp_path / "t.json"


def test_as_in_the_docstring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.jsonl").write_text(json.dumps(ADA))
    assert read_questions("train.jsonl") == [Question("1", "Who?", "It was Ada.", ("Ada",), (7,), "train.jsonl, line 1")]


def test_parquet(tmp_path):
    """SQuAD's columns as Hugging Face's datasets write them, and flat ones."""
    nested = {"id": "q1", "title": "T"} | ADA | {"answers": {"text": ["Ada"], "answer_start": [7]}}
    del nested["answer_start"]
    for record, id in ((nested, "q1"), (ADA, "1")):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([record]), tmp_path / "t.parquet")
        place = f"{tmp_path}/t.parquet, row 1"
        assert read_questions(tmp_path / "t.parquet") == [Question(id, "Who?", "It was Ada.", ("Ada",), (7,), place)]


def test_spellings_of_answers():
    arrays = {"text": np.array(["Ada"], object), "answer_start": np.array([7])}  # as pandas has them of Parquet
    for answers in ({"text": ["Ada"], "answer_start": [7]}, arrays):
        assert read_questions([ADA | {"answers": answers}])[0].answers == ("Ada",)
    for start in ("7", 7.0, "7.0"):
        assert read_questions([ADA | {"answer_start": [start]}])[0].starts == (7,)
    alone = {"question": "Who?", "context": "It was Ada.", "answer_start": 7}
    for answer in ({"answers": "Ada"}, {"answer": "Ada"}, {"answer": ["Ada"]}, {"answer": {"text": "Ada", "answer_start": 7}}):
        assert read_questions([alone | answer])[0].answers == ("Ada",)
    objects = [{"text": "Ada", "answer_start": 7}, {"text": "was Ada", "answer_start": 3}]
    (squad,) = read_questions([{"question": "Who?", "context": "It was Ada.", "answers": objects, "id": None}])
    assert (squad.id, squad.answers, squad.starts) == ("1", ("Ada", "was Ada"), (7, 3))
    assert read_questions([ADA | {"answers": objects[0]}])[0].answers == ("Ada",)
    assert read_questions([ADA | {"answer_start": [np.int64(7)]}])[0].starts == (7,)
    several = read_questions([ADA | {"answers": ["Ada", "was Ada"], "answer_start": [7, 3], "id": 5}])[0]
    assert (several.id, several.answers, several.starts) == ("5", ("Ada", "was Ada"), (7, 3))
    for none in ({"answers": []}, {"answers": None}, {"answers": [], "answer_start": []}):
        unasked = {key: value for key, value in ADA.items() if not key.startswith("answer")} | none
        assert read_questions([unasked])[0].answers == ()


def test_flat_questions_in_a_json_file(tmp_path):
    """As `datasets` writes SQuAD: lines or an array, with the answers in one mapping."""
    answers = {"text": ["Ada"], "answer_start": [7]}
    flat = {"id": "q1", "question": ADA["question"], "context": ADA["context"], "answers": answers}
    for content in (json.dumps(flat) + "\n", json.dumps([flat]), json.dumps([flat], indent=2), "\ufeff" + json.dumps([flat])):
        (tmp_path / "t.json").write_text(content)
        (found,) = read_questions(tmp_path / "t.json")
        assert (found.id, found.answers, found.starts) == ("q1", ("Ada",), (7,))
    (tmp_path / "t.json.xz").write_bytes(lzma.compress(squad(tmp_path).read_bytes()))
    assert [question.answers for question in read_questions(tmp_path / "t.json.xz")] == [("Ada",)]


def test_what_is_impossible_has_no_answers():
    (found,) = read_questions([ADA | {"is_impossible": True}])
    assert (found.answers, found.starts) == ((), ())
    for value in (False, None, 0, "false", "False", np.False_):
        assert read_questions([ADA | {"is_impossible": value}])[0].answers == ("Ada",)
    for value in (1, "true", "True", np.True_):
        assert read_questions([ADA | {"is_impossible": value}])[0].answers == ()
    (found,) = read_questions([{"question": "Who?", "context": "It was Ada.", "is_impossible": True}])
    assert found.answers == ()


@pytest.mark.parametrize(
    "named", [{}, {"start_position": 7, "end_position": 10}, {"answer_text": "Ada"}, {"is_impossible": False}]
)
def test_no_word_about_answers_is_not_no_answer(named):
    asked = {"question": "Who?", "context": "It was Ada."}
    with pytest.raises(
        ValueError, match=r"record 1: no answers are given: there is no 'answers', only 'question', 'context'.*Give"
    ) as error:
        read_questions([asked | named])
    assert 'or, where there is no answer, "answers": [] or "is_impossible": true' in str(error.value)
    assert ("'answer_text' (perhaps 'answers')" in str(error.value)) == ("answer_text" in named)
    for said in ({"answers": []}, {"is_impossible": True}):
        assert read_questions([asked | named | said])[0].answers == ()


def test_tables_of_questions(tmp_path):
    """All cells of a table are strings: numbers of characters, true and false; an empty one says that there is no answer."""
    path = tmp_path / "t.csv"
    path.write_text("question,context,answers,answer_start\nWho?,It was Ada.,Ada,7\nWhy?,It was Ada.,,\n")
    assert [(found.answers, found.starts) for found in read_questions(path)] == [(("Ada",), (7,)), ((), ())]
    path.write_text(
        "question,context,answer,answer_start,is_impossible\nWho?,It was Ada.,Ada,7,False\nWhy?,It was Ada.,It,0,True\n"
    )
    assert [(found.answers, found.starts) for found in read_questions(path)] == [(("Ada",), (7,)), ((), ())]
    path.write_text("question,context,answers,answer_start\nWho?,It was Ada.,Ada,\n")
    with pytest.raises(ValueError, match="line 2: 1 answers and 0 answer_start"):
        read_questions(path)


def test_squad_1_and_2(tmp_path):
    path = squad(tmp_path)
    expected = Question("q1", "Who?", "It was Ada.", ("Ada",), (7,), f"{path}, data[0].paragraphs[0].qas[0] (id q1)")
    assert read_questions(path) == [expected]
    assert read_questions(squad(tmp_path, is_impossible=True, plausible_answers=[{"text": "It"}], answers=[]))[0].answers == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer_start": [6]}, "record 1: the context has ' Ad' at character 6: expected the answer 'Ada'. It begins at 7"),
        ({"answer_start": [-4]}, "record 1: the context has '' at character -4"),
        ({"answers": ["Eve"]}, "expected the answer 'Eve'. The context does not contain it"),
        ({"answer_start": []}, "record 1: 1 answers and 0 answer_start"),
        ({"answer_start": ["7.5"]}, "record 1: answer_start is '7.5'"),
        ({"answer_start": [float("nan")]}, "record 1: answer_start is nan"),
        ({"answers": [""]}, "record 1: the answer is ''"),
        ({"answer_start": [True]}, "record 1: answer_start is True"),
        ({"is_impossible": "no"}, "record 1: is_impossible is 'no': expected true or false"),
        ({"is_impossible": 2}, "record 1: is_impossible is 2: expected true or false"),
        (
            {"answers": {"texts": ["Ada"], "starts": [7]}},
            "'answers' holds 'texts' (perhaps 'text'), 'starts': expected 'text'",
        ),
        ({"answers": {"text": ["Ada"]}}, "'answers' holds 'text': expected 'text' and 'answer_start'. Give"),
        ({"answers": {}}, "'answers' holds nothing: expected"),
        ({"answers": [{"text": "Ada", "answer_start": 8}]}, "record 1: the context has 'da.' at character 8: expected"),
        ({"answers": [{"text": "Ada"}]}, "record 1: answer_start is None"),
        ({"answers": [{"text": "Ada", "answer_start": 7}, "Ada"]}, "record 1: answer_start is None"),
        ({"question": " "}, "record 1: the question is empty"),
        ({"context": None}, "record 1: the column 'context' is None"),
    ],
)
def test_what_is_wrong_is_named(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_questions([ADA | changes])


def test_broken_files_and_ids(tmp_path):
    path = tmp_path / "t.json"
    for content, message in (
        ('{"data": [\n{]}', "line 2: bad JSON at column 2"),
        ('{"data": {}}', "'data' is {}: expected a list of objects, as in SQuAD"),
        ('{"data": [{"paragraphs": [{"context": "a"}]}]}', "data[0].paragraphs[0]: 'qas' is None"),
        ('{"data": []}', "holds no question"),
        (json.dumps({"data": [ADA]}), "data[0]: a flat record, which is not SQuAD's format. Write only the list under 'data'"),
        ('[{"context": "a", "qas": []}]', 'a list of paragraphs. Wrap it as SQuAD does: {"data": [{"paragraphs": […]}]}'),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=re.escape(message)):
            read_questions(path)
    with pytest.raises(ValueError, match=re.escape("qas[0] (id q1): is_impossible is 'no'")):
        read_questions(squad(tmp_path, is_impossible="no"))
    with pytest.raises(ValueError, match=re.escape("qas[0] (id q1): the context has 'da.' at character 8")):
        read_questions(squad(tmp_path, answers=[{"text": "Ada", "answer_start": 8}]))
    with pytest.raises(ValueError, match="record 2: the id 'a' was already used at record 1"):
        read_questions([ADA | {"id": "a"}] * 2)
