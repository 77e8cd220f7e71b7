"""The advice of every message about labelled data, followed as a user would."""

# ruff: noqa: B023 - each function is called in its own turn of the loop

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf
from advice import follow
from encoder_like import BertLike

from tfllm import features
from tfllm.data import encoder_inputs, question_answering, regression, tagging, text_classification, text_pairs
from tfllm.data.labelled.conll_files import Sentence, read_sentences
from tfllm.data.labelled.question_files import read_questions
from tfllm.data.labelled.tag_schemes import to_iob2
from tfllm.data.labelled.text_files import read_texts
from tfllm.data.labelled.validation_split import split
from tfllm.data.labelled.word_spacing import with_spaces
from tfllm.text import words as word_splitting
from tfllm.tokenizers import ByteTokenizer

BYTES = ByteTokenizer()


def classes(values, read=text_classification, **options):
    """The targets of texts with these labels; those of one label a row by name."""
    rows = read([{"text": str(number), "label": value} for number, value in enumerate(values)], BYTES, **options)
    targets = rows.row_features[features.LABELS].tolist()
    return [rows.labels[target] for target in targets] if rows.labels and not options.get("multi_label") else targets


@pytest.mark.parametrize(
    ("words", "wrong", "right", "options", "targets"),
    [
        ("or name all labels with labels=[…]", ["Pos", "pos"], ["Pos", "pos"], dict(labels=["Pos", "pos"]), ["Pos", "pos"]),
        ("Write both alike, ", ["Pos", "pos"], ["pos", "pos"], {}, ["pos", "pos"]),
        ("Remove such rows, ", ["0", "1", "2", "-1"], ["0", "1", "2"], {}, ["0", "1", "2"]),
        ("Remove such rows, ", ["a", "-"], ["a", "-"], dict(labels=["a", "-"]), ["a", "-"]),
        ("Read several labels a row with multi_label=True", ["a", "b", "a|b"], ["a", "b", "a|b"], dict(multi_label=True), None),
        ("; for lists of 0 and 1, also name ", [[0, 1]], [[0, 1]], dict(multi_label=True, labels=["a", "b"]), [[0, 1]]),
        ("expected one label, not a list. Read several labels", [["a", "b"]], [["a", "b"]], dict(multi_label=True), None),
        ("Fill it in, or remove the row.", ["a", None], ["a", "b"], {}, ["a", "b"]),
        ("Fill it in, or remove the row", ["a", "nan"], ["a"], {}, ["a"]),
        ("or name all labels with labels=[…]", ["a", "N/A"], ["a", "N/A"], dict(labels=["a", "N/A"]), ["a", "N/A"]),
        ("Write both alike, ", ["true", 1], ["true", True], {}, ["true", "true"]),
        (". Use regression for numbers, ", [0.5, 1.5], [0.5, 1.5], dict(read=regression), [0.5, 1.5]),
        (". Use regression for numbers, ", [0.5], [0.5], dict(labels=["0.5"]), ["0.5"]),
    ],
)  # fmt: skip
def test_labels(words, wrong, right, options, targets):
    found = lambda: classes(right, **options)  # noqa: E731
    follow(words, lambda: classes(wrong), lambda: len(found()) == len(right) and found() == (targets or found()))


def test_labels_of_several():
    def several(values, **options):
        return classes(values, multi_label=True, **options)

    follow(
        ": each row has one label, 0 or 1. Remove multi_label=True, ",
        lambda: several(["0", "1"]),
        lambda: classes(["0", "1"]) == ["0", "1"],
    )
    follow(": expected a list of strings, as JSON or Python writes one", lambda: several([3]), lambda: several([["3"], ["a"]]))
    assert several(["['3', 'a']"]) == several(['["3", "a"]']) == several(["3|a"]) == [[1, 1]]
    zeros = " values of 0 and 1. If there is one value for each "
    follow(zeros, lambda: several([[0, 1]]), lambda: several([[0, 1]], labels=["a", "b"]) == [[0, 1]])
    follow(zeros, lambda: several([[0, 1]]), lambda: several([[0, 1]], labels=["0", "1", "2"]) == [[1, 1, 0]])
    with pytest.raises(ValueError, match=r"Write 'joy\|anger', or name") as error:
        several(["joy|sad", "joy, anger", "anger"])
    written = str(error.value).partition("Write '")[2].partition("'")[0]
    assert several(["joy|sad", written, "anger"]) == [[0, 1, 1], [1, 1, 0], [1, 0, 0]]


def test_labels_made_of_others():
    def several(values, **options):
        return classes(values, multi_label=True, **options)

    three = ["joy", "sad", "joy/sad"]
    way = "Write 'joy|sad', and read several labels a row with multi_label=True"
    follow(way, lambda: classes(three), lambda: several(["joy", "sad", "joy|sad"]) == [[1, 0], [0, 1], [1, 1]])
    follow(", or name all labels with labels=[…]", lambda: classes(three), lambda: classes(three, labels=three) == three)
    follow(
        "Write [0, 1], and name 2 labels in their order: labels=[…]",
        lambda: several(["01", "10"]),
        lambda: several([[0, 1], [1, 0]], labels=["a", "b"]) == [[0, 1], [1, 0]],
    )
    follow(
        "Scale the numbers, or use their logarithms.", lambda: classes([1e39], regression), lambda: classes([39], regression)
    )


def test_names_of_columns():
    rows, names = [{"text": "a", "toxic": 1, "obscene": 0}], ["toxic", "obscene"]
    made = [row | {"label": [row[name] for name in names]} for row in rows]  # as the message says
    read = lambda rows, label: text_classification(rows, BYTES, label=label, multi_label=True, labels=names)  # noqa: E731
    lists = " If each label has a column of its own, make one column of lists: "
    follow(lists, lambda: read(rows, names), lambda: read(made, "label").row_features[features.LABELS].tolist() == [[1, 0]])
    one = " is invalid: expected the name of one column."
    follow(one, lambda: read_texts(rows, text=0), lambda: read_texts(rows, text="text"))


def test_pairs():
    rows = [{"text": "a", "text_pair": "b", "label": 1}, {"text": "c", "text_pair": "d", "label": 0}]
    two = [{name: row[name] for name in ("text", "text_pair")} for row in rows]
    for too_short, right in (
        ("keep only the rows of such pairs", rows[:1]),
        ("remove the column or make it 1", two),
        ("remove the column or make it 1", [row | {"label": 1} for row in two]),
    ):
        follow(too_short, lambda: text_pairs(rows, BYTES), lambda: len(text_pairs(right, BYTES)) == 2 * len(right))
    triplets = [row | {"negative": "e"} for row in two]
    too_short = "The second texts of other rows are the negatives: remove the column"
    follow(too_short, lambda: text_pairs(triplets, BYTES), lambda: len(text_pairs(two, BYTES)) == 4)


def test_names_of_labels():
    follow(
        "is invalid: expected distinct, non-empty strings.",
        lambda: classes("a", labels=["a", "a"]),
        lambda: classes("a", labels=["a"]),
    )
    words = "this one too: labels=[…]."
    known = ["neg", "pos"]
    follow(
        "Write 'pos'; or read the training data with all labels",
        lambda: classes(["POS"], labels=known),
        lambda: classes(["pos"], labels=known),
    )
    follow(
        "Correct it, or remove the row",
        lambda: classes(["pso", "pos"], labels=known),
        lambda: classes(["pos"], labels=known),
    )
    follow(words, lambda: classes(["new"], labels=known), lambda: classes(["new"], labels=[*known, "new"]) == ["new"])


def test_numbers():
    for advice, wrong in (("Write it with a point, and no comma.", "0,5"), (": expected a finite number. ", "half")):
        follow(advice, lambda: classes([wrong], regression), lambda: classes(["0.5"], regression) == [0.5])
    follow("Correct it, or remove the row.", lambda: classes(["nan", 1], regression), lambda: classes([1], regression) == [1])


def test_texts(tmp_path):
    for advice, wrong, right in (
        (". Give at least one.", [], [{"text": "a"}]),
        (" expected a string. Write it as a string.", [{"text": 5}], [{"text": "a"}]),
        (" a mapping from column to value, or the path of a labelled file.", ["a"], [{"text": "a"}]),
        (" is empty. Fill it, or pass skip_empty=True.", [{"text": " "}], [{"text": "a"}]),
        (", which UTF-8 cannot write. Remove it.", [{"text": "a\ud800"}], [{"text": "a"}]),
    ):
        follow(advice, lambda: read_texts(wrong), lambda: [found.text for found in read_texts(right)] == ["a"])
    two = [{"text": ""}, {"text": "a"}]
    follow("Fill it, or pass skip_empty=True.", lambda: read_texts(two), lambda: len(read_texts(two, skip_empty=True)) == 1)
    (tmp_path / "a.csv").write_text("I liked it,pos\nNo,neg\n")

    def with_names():
        (tmp_path / "a.csv").write_text("text,label\nI liked it,pos\nNo,neg\n")
        return [found.text for found in read_texts(tmp_path / "a.csv")] == ["I liked it", "No"]

    follow("If a table has no first line of names, add one.", lambda: read_texts(tmp_path / "a.csv"), with_names)
    (tmp_path / "a.json").write_text('{"data": [{"text": "a"}]}')

    def alone():
        (tmp_path / "a.json").write_text('[{"text": "a"}]')
        return read_texts(tmp_path / "a.json")[0].text == "a"

    follow("? Write only that list, without the object around it.", lambda: read_texts(tmp_path / "a.json"), alone)
    body = [{"body": "a"}]
    follow(" Name it: ", lambda: read_texts(body), lambda: read_texts(body, text="body")[0].text == "a")


def test_texts_that_are_cut():
    def encoded(text="a", **options):
        return text_classification([{"text": text, "label": "x"}], BYTES, **options).first.lengths.tolist()

    follow(
        ": give a larger max_length if these ends matter",
        lambda: encoded("a" * 9, max_length=5),
        lambda: encoded("a" * 9, max_length=11) == [9],
    )
    too_short = "are special. Give a larger max_length."
    follow(too_short, lambda: encoded(max_length=2), lambda: encoded(max_length=3) == [1])
    one = tf.ragged.constant([[7]], tf.int32)
    follow(
        too_short,
        lambda: encoder_inputs.build_encoder_inputs(one, tokenizer=BYTES, max_length=2),
        lambda: encoder_inputs.build_encoder_inputs(one, tokenizer=BYTES, max_length=3),
    )
    spelled = word_splitting.split_words(tf.constant(["a"]), keep_spaces=True).strings
    follow(
        too_short, lambda: word_splitting.word_pieces(spelled, BYTES, 2), lambda: word_splitting.word_pieces(spelled, BYTES, 3)
    )


def test_settings_of_batches():
    rows = text_classification([{"text": each, "label": each} for each in "abc"], BYTES)

    def first(**settings):
        return next(iter(rows.batches(**dict(batch_size=2) | settings)))[features.TOKEN_IDS].shape[0] == 2

    once = dict(repeat=False, shuffle=False, batch_size=2, seed=2**32 - 1, start_step=1)
    found = first(**once)
    follow(" is invalid: expected 0 to ", lambda: first(**once | dict(start_step=3)), lambda: found)
    follow(" is invalid: expected a multiple of ", lambda: first(**once | dict(batch_size=0)), lambda: found)
    follow(" is invalid: expected a seed from 0 to 2**32 - 1, and a step from 0 on.", lambda: first(seed=-1), lambda: found)
    follow("], one weight for each label.", lambda: first(class_weights=[1, 2]), lambda: first(class_weights=[1, 2, 3]))
    follow(
        " is invalid: expected a fraction above 0 and below 1.",
        lambda: split(rows, validation=1),
        lambda: len(split(rows, validation=0.5)[1]) == 1,
    )
    alike = text_classification([{"text": "a", "label": "x"}] * 2, BYTES)
    follow(
        ". Give a file of other texts for validation.",
        lambda: split(alike, validation=0.5),
        lambda: text_classification([{"text": "b", "label": "x"}], BYTES, labels=alike.labels),
    )


ADA = {"question": "Who?", "context": "It was Ada.", "answers": ["Ada"], "answer_start": [7]}


@pytest.mark.parametrize(
    ("words", "wrong", "right"),
    [
        (": expected true or false.", {"is_impossible": "no"}, {"is_impossible": False}),
        (": expected one for each answer.", {"answer_start": []}, {"answer_start": [7]}),
        (": expected a string with at least one character.", {"answers": [""]}, {"answers": ["Ada"]}),
        (": expected the index of the answer's first character", {"answer_start": ["seven"]}, {"answer_start": [7]}),
        (" (characters, not bytes).", {"answer_start": [8]}, {"answer_start": [7]}),
        ("The context does not contain it.", {"answers": ["Eve"]}, {"answers": ["Ada"]}),
        (" is empty. Fill it, or remove the record.", {"question": ""}, {"question": "Who?"}),
        ('Give "answers" and "answer_start", or, where', {"answers": {"texts": ["Ada"]}}, {"answers": ["Ada"]}),
    ],
)  # fmt: skip
def test_questions(words, wrong, right):
    follow(words, lambda: read_questions([ADA, ADA | wrong]), lambda: read_questions([ADA, ADA | right])[1].answers == ("Ada",))


def test_questions_of_files(tmp_path):
    path = tmp_path / "a.json"

    def read(content, name="a.json"):
        (tmp_path / name).write_text(content)
        return [found.answers for found in read_questions(tmp_path / name)] == [("Ada",)]

    squad = (
        '{"data": [{"paragraphs": [{"context": "It was Ada.", "qas": [{"question": "Who?", "id": "1", "answers": [%s]}]}]}]}'
    )
    good = squad % '{"text": "Ada", "answer_start": 7}'
    follow("holds no question. Give at least one.", lambda: read('{"data": []}'), lambda: read(good))
    follow("). Correct it.", lambda: read(good[:-1]), lambda: read(good))
    words = ": expected a list of objects, as in SQuAD. Give a file of JSON lines the suffix .jsonl."
    follow(words, lambda: read('{"data": 5}'), lambda: read(good))
    follow(words, lambda: read('{"data": 5}'), lambda: read(json.dumps(ADA), "a.jsonl"))
    asked = {"context": "It was Ada.", "qas": [{"question": "Who?", "answers": [{"text": "Ada", "answer_start": 7}]}]}
    wrapped = json.dumps({"data": [{"paragraphs": [asked]}]})
    follow('Wrap it as SQuAD does: {"data": [{"paragraphs": […]}]}.', lambda: read(json.dumps([asked])), lambda: read(wrapped))
    for none in ({"answers": []}, {"is_impossible": True}):
        silent = {"question": "Why?", "context": "It was Ada."}
        ways = 'or, where there is no answer, "answers": [] or "is_impossible": true.'
        follow(ways, lambda: read_questions([silent]), lambda: read_questions([silent | none])[0].answers == ())
    alone = "Write only the list under 'data', without the object around it."
    follow(alone, lambda: read(json.dumps({"data": [ADA]})), lambda: read(json.dumps([ADA])))
    same = [ADA | {"id": "1"}] * 2
    follow(
        "Give each question its own id.",
        lambda: read_questions(same),
        lambda: len(read_questions([ADA | {"id": n} for n in "12"])) == 2,
    )
    column = {name: value for name, value in ADA.items() if name != "context"}
    follow(
        " Give each record one.",
        lambda: read_questions([column]),
        lambda: read_questions([column | {"context": "It was Ada."}]),
    )
    assert path.exists()


def test_rows_of_questions():
    def rows(asked="Who?", times=1, answer="Ada", start=7, **options):
        record = {
            "question": asked,
            "context": "It was " + "Ada. " * times + "\0",
            "answers": [answer],
            "answer_start": [start],
        }
        found = question_answering([record], BertLike(), **options)
        return found.exact.all() and found.first.lengths.max() == len(asked) and found

    short, cut = dict(max_length=50, stride=8), dict(asked="why " * 9, times=9)
    lost = " questions are too long and lose their ends: give a larger "
    follow(lost, lambda: rows(**cut, **short), lambda: rows(**cut, max_length=120, stride=8))
    long = dict(times=20, answer="Ada. Ada. Ada. Ada. Ada. Ada.", start=27)
    whole = lambda: rows(**long, max_length=99, stride=8) and rows(**long, max_length=50, stride=30)  # noqa: E731
    follow(
        "do not fit in one window, and are not trained on: give a larger max_length (now ", lambda: rows(**long, **short), whole
    )
    found = rows()
    follow(". Correct it, or remove it.", lambda: rows(answer="\0", start=12), lambda: found)
    places = " is invalid: expected positions of the context"
    follow(places, lambda: found.characters(0, 0, 0), lambda: found.characters(0, 6, 6) == slice(0, 1))
    limit = lambda stride: encoder_inputs.question_limit(BYTES, 12, stride) == 3  # noqa: E731
    follow("Give a stride from 0 to below that.", lambda: limit(6), lambda: limit(5))


CONLLU = "1\tEU\t_\tO" + "\t_" * 6
ALIKE = "".join(f"EU X{number}\n" for number in range(20))
COMMENT = "Write a comment as '# key = value', or correct the label."


@pytest.mark.parametrize(
    ("words", "wrong", "right"),
    [
        ("Write CoNLL: a word, a tab and its label on each line", ("a.csv", "EU,O\n"), ("a.txt", "EU\tO\n")),
        ("Give one word a line, and a blank line after each sentence.", ("a.txt", "\n"), ("a.txt", "EU O\n\n")),
        (": 1 column: expected a word and at least one label.", ("a.txt", "EU\n"), ("a.txt", "EU O\n")),
        ("expected a number, since columns of CoNLL files have no names.", ("a.txt", "EU O\n", "ner"), ("a.txt", "EU O\n", 1)),
        (" for the first, -1 for the last.", ("a.txt", "EU O\n", "ner"), ("a.txt", "EU O\n", -1)),
        (": word_column=", ("a.txt", "EU O\n", 1, 5), ("a.txt", "EU O\n", 1, 0)),
        (": column=", ("a.txt", "EU O\n", 5), ("a.txt", "EU O\n", 1)),
        ("Give the columns of the word and of its label: ", ("a.txt", "1 EU O\n2 a O\n"), ("a.txt", "1 EU O\n2 a O\n", 2, 1)),
        ("or word_column=0, if these are the words.", ("a.txt", "a O O\n1 O O\n2 O O"), ("a.txt", "a O O\n1 O O", -1, 0)),
        ("; or word_column=0, if these are the words.", ("a.txt", "B-A EU\nO a\n"), ("a.txt", "O EU\nO a\n", 0, 1)),
        ("Give the columns of the word and of its label: ", ("a.txt", "B-A EU\nO a\n"), ("a.txt", "O EU\n", 0, 1)),
        ("Write a word, a tab and its label on each line", ("a.txt", "EU|O a|O\n"), ("a.txt", "EU\tO\na\tO\n\n")),
        ("or, if these are whole words, give word_column=0", ("a.txt", "a_b B_X\na_c X_O\n"), ("a.txt", "EU O", -1, 0)),
        ("Give the column of the label: column=…; or column=-1", ("a.txt", "EU O 0.9\n"), ("a.txt", "EU O 0.9\n", 1)),
        ("). Give the column of the label: column=", ("a.txt", "EU B-A x\na O x\n"), ("a.txt", "EU O x\na O x\n", 1)),
        ("; or column=-1 if these are labels.", ("a.txt", ALIKE), ("a.txt", "EU O\n" * 20, -1)),
        ("seem to be names of columns. Remove the line", ("a.txt", "Token Tag\nEU O\n"), ("a.txt", "EU O\n")),
        (" A CoNLL-U file is named .conllu.", ("a.txt", CONLLU), ("a.conllu", CONLLU)),
        (" without a line feed (LF). End lines with LF or CRLF.", ("a.txt", "EU O\ra O\r"), ("a.txt", "EU O\r\na O\r\n")),
        (COMMENT, ("a.txt", "a O\n\n# EU\nb O"), ("a.txt", "a O\n\n# key = EU\nb O")),
        ("is inside a sentence. Put an empty line", ("a.txt", "a O\n# id = 2\nb O"), ("a.txt", "a O\n\n# id = 2\nb O")),
        (" is invalid: expected one of ", ("a.conllu", CONLLU, "NER"), ("a.conllu", CONLLU, "UPOS")),
        ("Fill it in, or name another column: column=….", ("a.txt", "EU\tO\t-\n"), ("a.txt", "EU\tO\t-\n", 1)),
        ("Fill it in, or name another column: column=….", ("a.txt", "EU\tO\t-\n"), ("a.txt", "EU\tO\tO\n")),
        (", as in the lines before.", ("a.txt", "EU X O\na O\n"), ("a.txt", "EU X O\na X O\n")),
        (" columns split by tabs: expected the 10 of CoNLL-U.", ("a.conllu", CONLLU.replace("\t", " ")), ("a.conllu", CONLLU)),
        ("', the word's number in its ", ("a.conllu", "2" + CONLLU[1:]), ("a.conllu", CONLLU)),
    ],
)  # fmt: skip
def test_files_of_words(tmp_path, words, wrong, right):
    def read(name, content, column=None, word_column=None):
        (tmp_path / name).write_bytes(content.encode())
        sentences = read_sentences(tmp_path / name, column=column, word_column=word_column)
        return sentences[0].words[0] in ("EU", "a") and {label for each in sentences for label in each.labels} == {"O"}

    follow(words, lambda: read(*wrong), lambda: read(*right))


TABLE = ". Write CoNLL: a word, a tab and its label on each line; or .jsonl: "
NAME_OTHERS = "Fill it in, or name other columns: word_column=…, column=…."
TWO = {"tags": ["X"], "labels": ["O"]}


@pytest.mark.parametrize(
    ("words", "wrong", "right", "options"),
    [
        ("Give the names in the order of their numbers: labels=[…]", {"tags": [1]}, {"tags": [1]}, dict(labels=["O", "X"])),
        ("Name all labels, or remove the record.", {"tags": [2]}, {"tags": [2]}, dict(labels=["O", "Y", "X"])),
        (" names tags of another scheme than IOB2. Write the tags", {"tags": [1]}, {"tags": ["S-X"]}, {}),
        (" may hold the labels. Name one: ", TWO, TWO, dict(column="tags")),
        (" may hold the labels. Name one: ", {"upos": ["X"]}, {"upos": ["X"]}, dict(column="upos")),
        (". Name it: ", {"tokens": None, "tags": ["X"]}, {"form": ["EU"], "tags": ["X"]}, dict(word_column="form")),
        ("Correct it, or remove the record.", {"tags": "X"}, {"tags": ["X"]}, {}),
        (" labels: expected one label for each word.", {"tags": ["X", "X"]}, {"tags": ["X"]}, {}),
        (": expected a string, or a number with labels=[…].", {"tags": [None]}, {"tags": ["X"]}, {}),
        (NAME_OTHERS, {"tags": ["_"]}, {"tags": ["X"]}, {}),
        (NAME_OTHERS, {"tags": ["_"]}, {"tags": ["_"], "ner": ["X"]}, dict(column="ner")),
    ],
)  # fmt: skip
def test_records_of_tokens(words, wrong, right, options):
    def read(record, **given):
        record = {name: value for name, value in {"tokens": ["EU"], **record}.items() if value is not None}
        (sentence,) = tagging([record], BertLike(), **given).records
        return sentence.words == ("EU",) and sentence.labels[0].endswith("X")

    names = dict(labels=["O", "S-X", "B-X"]) if "IOB2" in words else dict(labels=["O", "X"]) if "Name all" in words else {}
    follow(words, lambda: read(wrong, **names), lambda: read(right, **options))


def test_tokens_and_parquet(tmp_path):
    record = {"tokens": ["EU"], "tags": ["X"]}
    (tmp_path / "a.csv").write_text("EU,X\n")
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    read = lambda source, **columns: tagging(source, BertLike(), **columns).labels == ("X",)  # noqa: E731
    follow(TABLE, lambda: read(tmp_path / "a.csv"), lambda: read(tmp_path / "a.jsonl"))
    names = " is invalid: expected the name of a column. Give one of the records' names."
    follow(names, lambda: read([record], column=1), lambda: read([record], column="tags"))
    follow(" holds no record. Give at least one.", lambda: read([]), lambda: read([record]))

    def texts(values, names=("text", "label")):
        columns = [pyarrow.array([value]).view("string") for value in values]
        pyarrow.parquet.write_table(pyarrow.Table.from_arrays(columns, names=names), tmp_path / "a.parquet")
        return len(read_texts(tmp_path / "a.parquet", label="label")) == 1

    follow("Give each its own name.", lambda: texts([b"a", b"b", b"c"], ["text", "label", "text"]), lambda: texts([b"a", b"b"]))
    again = ") is not UTF-8. Write the file again from UTF-8 text."
    follow(again, lambda: texts([b"\xe9", b"b"]), lambda: texts(["é".encode(), b"b"]))


@pytest.mark.parametrize(
    ("words", "wrong", "right"),
    [
        ("Use one of the two schemes throughout.", "I-A I-A O B-B", "I-A I-A O I-B"),
        ("Use one of the two schemes throughout.", "I-A I-A O B-B", "B-A I-A O B-B"),
        (": expected a tag of the same scheme as the others. Write ", "B-A i-A O B-B", "B-A I-A O B-B"),
        ("O, or B-… or I-… with a type", "B-A NOUN O B-B", "B-A I-A O B-B"),
        (": expected a tag of the same scheme as the others. Write ", "BA12 IA12 O BB12", "B-A I-A O B-B"),
        ("keep one tag, for example the outer entity's.", "B-A|B-C I-A|O O B-B", "B-A I-A O B-B"),
        ("but its type was ", "B-A I-a O B-B", "B-A I-A O B-B"),
        (" each entity of several words begins with B-. Correct it.", "I-A E-A O S-B", "B-A E-A O S-B"),
        ("Open and close each entity once.", "(A* (A*) * (B)", "(A* *) * (B)"),
        (" is not closed at the end of its sentence. Close it.", "(A* *) * (B*", "(A* *) * (B)"),
    ],
)  # fmt: skip
def test_schemes(words, wrong, right):
    read = lambda tags: to_iob2([tags.split()], lambda sentence, word: f"line {word}")  # noqa: E731
    follow(words, lambda: read(wrong), lambda: read(right) == [("B-A", "I-A", "O", "B-B")])


def test_tagged():
    def tagged(word):
        return tagging([Sentence((word,), ("O",), (True,), "line 1")], BertLike())

    rows = tagged("a")
    follow(" has no visible character. Remove it.", lambda: tagged("\x85"), lambda: rows)
    of_rows = lambda count: rows.by_sentence([np.zeros(3, int)] * count) == [["O"]]  # noqa: E731
    follow(". Remove padding rows.", lambda: of_rows(2), lambda: of_rows(1))
    accepted = " is invalid: expected 'restored', 'single', or None for the spaces of the file."
    for spaces in ("restored", "single"):
        follow(accepted, lambda: with_spaces(rows.records, "double"), lambda: with_spaces(rows.records, spaces))
    follow(accepted, lambda: with_spaces(rows.records, "double"), lambda: tagging(rows.records, BertLike(), spaces=None))
