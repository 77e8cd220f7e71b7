"""Tables of texts: what is read, and that every wrong line is named."""

import bz2
import csv
import gzip
import json
import lzma
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from tfllm.data.labelled import tagging
from tfllm.data.labelled.label_values import label_names
from tfllm.data.labelled.question_files import read_questions
from tfllm.data.labelled.text_files import Row, TextRecord, name_of, read_rows, read_texts
from tfllm.tokenizers import ByteTokenizer


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refuses(message, *args, **kwargs):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_texts(*args, **kwargs)


def test_rows_as_in_the_docstring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.csv", 'text,label\nfine,pos\n"so,\nso",neg\nlast,neg\n')
    assert list(read_rows("t.csv")) == [
        Row({"text": "fine", "label": "pos"}, "t.csv, line 2"),
        Row({"text": "so,\nso", "label": "neg"}, "t.csv, line 3"),
        Row({"text": "last", "label": "neg"}, "t.csv, line 5"),
    ]


def test_texts_as_in_the_docstring():
    def read(record, **options):
        (found,) = read_texts([record], **options)
        assert found.place == "record 1"
        return TextRecord(found.text, found.pair, found.labels, found.number)

    assert read({"text": "fine", "label": "pos"}, label="label") == TextRecord("fine", labels=("pos",))
    several = {"text": "fine", "label": "pos|glad"}
    assert read(several, label="label", multi_label=True) == TextRecord("fine", labels=("pos", "glad"))
    pair = {"text": "fine", "text_pair": "good", "score": "0.9"}
    assert read(pair, pair="text_pair", number="score") == TextRecord("fine", "good", number=0.9)


PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.ZstdCompressor().compress}


@pytest.mark.parametrize("compression", ["", *PACK])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "NDJSON", "lines.json", "array.json", "indented.json"])
def test_all_formats_say_the_same(tmp_path, suffix, compression):
    rows = [("Ünï 中", "pos"), ('he said "no"', "neg")]
    records = [{"text": text, "label": label} for text, label in rows]
    lines = "".join(json.dumps(record) + "\n" for record in records) + "\n"
    content = {
        "csv": '\ufefflabel,text\r\npos,Ünï 中\r\nneg,"he said ""no"""\r\n',
        "tsv": 'label\ttext\npos\tÜnï 中\nneg\the said "no"\n',
        "jsonl": lines,
        "NDJSON": "\ufeff" + lines.replace("\n", "\r\n"),
        "lines.json": lines,
        "array.json": "\ufeff" + json.dumps(records),
        "indented.json": json.dumps(records, indent=1),
    }[suffix].encode()
    name = f"t.{suffix}.{compression}".rstrip(".")
    path = write(tmp_path / name, PACK[compression](content) if compression else content)
    assert [(record.text, *record.labels) for record in read_texts(path, label="label")] == rows


def parquet(path, row_group_size=None, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=row_group_size)
    return path


def test_parquet(tmp_path):
    rows = [(f"Ünï {number}", ("pos", "neg")[number % 2]) for number in range(600)]  # over batches and row groups
    texts, labels = map(list, zip(*rows, strict=True))
    path = parquet(
        tmp_path / "t.PARQUET", 250, id=list(range(600)), text=texts, label=pyarrow.array(labels).dictionary_encode()
    )
    found = read_texts(path, label="label")
    assert [(record.text, *record.labels) for record in found] == rows
    assert [found[number].place for number in (0, 599)] == [f"{path}, row 1", f"{path}, row 600"]

    path = parquet(
        tmp_path / "t.parquet", text=["a", "b"], text_pair=["c", "d"], label=[0, 1], score=pyarrow.array([0.5, 2], "float")
    )
    assert [record.labels for record in read_texts(path, label="label")] == [("0",), ("1",)]
    assert [(record.pair, record.number) for record in read_texts(path, pair="text_pair", number="score")] == [
        ("c", 0.5),
        ("d", 2),
    ]
    path = parquet(tmp_path / "t.parquet", text=["a", "b"], label=[["x", "y"], []])
    assert [record.labels for record in read_texts(path, label="label", multi_label=True)] == [("x", "y"), ()]


def test_what_is_wrong_in_parquet_is_named_with_its_row(tmp_path):
    path = tmp_path / "t.parquet"
    refuses("t.parquet, row 2: the column 'text' is empty", parquet(path, text=["a", None], label=["x", "y"]), label="label")
    refuses("t.parquet, row 2: the label is None", parquet(path, text=["a", "b"], label=[1, None]), label="label")
    refuses("t.parquet, row 1: there is no column 'text', only 'body'", parquet(path, body=["a"]))
    refuses("t.parquet, row 1: the column 'text' is b'a': expected a string", parquet(path, text=[b"a"]))
    refuses("t.parquet holds no record", parquet(path, text=pyarrow.array([], "string")))
    broken = pyarrow.array([b"a"] * 300 + [b"b\xff"] + [b"c"] * 9).view("string")
    message = "t.parquet, row 301: byte 1 of a string (0xFF) is not UTF-8. Write the file again from UTF-8 text."
    refuses(message, parquet(path, text=broken))
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays([["a"], ["b"]], names=["text", "text"]), path)
    refuses("t.parquet: two columns have the same name: ['text', 'text']", path)
    with pytest.raises(FileNotFoundError):
        read_texts(tmp_path / "no.parquet")


def test_labels_of_json_are_read_as_json_spells_them():
    rows = [{"text": "a", "label": value} for value in (True, False, 3, np.int64(0), " x ")]
    assert [record.labels for record in read_texts(rows, label="label")] == [("true",), ("false",), ("3",), ("0",), ("x",)]
    for value in (None, 1.5, "", " ", ["a"]):
        refuses("record 1: the label is", [{"text": "a", "label": value}], label="label")


def test_several_labels_a_row(tmp_path):
    write(tmp_path / "t.csv", "text,label\na,x|y|x\nb,\n")
    found = read_texts(tmp_path / "t.csv", label="label", multi_label=True)
    assert [record.labels for record in found] == [("x", "y"), ()]
    refuses("record 1: the labels are 3", [{"text": "a", "label": 3}], label="label", multi_label=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "text,label\na,b\nc\n", "t.csv, line 3: 1 columns: expected 2"),
        ("t.csv", "text,label\na,b,c\n", "t.csv, line 2: 3 columns: expected 2"),
        ("t.csv", 'text,label\na,b\n"c,d\n\n', "t.csv, line 3: unexpected end of data"),
        ("t.csv", 'text,label\n"a"x,b\n', "t.csv, line 2: ',' expected"),
        ("t.csv", "text,text\na,b\n", "t.csv, line 1: the first line names a column twice"),
        ("t.csv", "", "t.csv is empty"),
        ("t.csv", "text,label\n", "t.csv has no lines below its first"),
        ("t.jsonl", "\n", "t.jsonl holds no record"),
        (
            "t.csv",
            "text,label\ra,b\r",
            "t.csv, line 1: a carriage return (CR) without a line feed (LF). End lines with LF or CRLF",
        ),
        ("t.csv", '"text","label"\r"a","b"\r', "t.csv, line 1: a carriage return (CR) without a line feed (LF)"),
        ("t.csv", "text,label\na\rb,c\n", "t.csv, line 2: a carriage return (CR) without a line feed (LF)"),
        ("t.tsv", "text\tlabel\ra\tb\r", "t.tsv, line 1: a carriage return (CR) without a line feed (LF)"),
        ("t.csv", "label,body\nb,a\n", "t.csv, line 2: there is no column 'text', only 'label', 'body'"),
        ("t.csv", "text,label\na,b\n  ,b\n", "t.csv, line 3: the column 'text' is empty"),
        ("t.csv", "text,label\na,b\nc,\n", "t.csv, line 3: the label is ''"),
        ("t.csv", b"text,label\na,b\n\xe9t\xe9,b\n", "t.csv, line 3: byte 0 (0xE9) is not UTF-8"),
        ("t.csv.gz", "text,label\n", "t.csv.gz: cannot be unpacked (Not a gzipped file"),
        ("t.csv.gz", gzip.compress(b"text,label\na,b\n", mtime=0)[:-9], "t.csv.gz: cannot be unpacked (Compressed file ended"),
        ("t.jsonl", '{"text": "a", "label": "b"}\n{"text": a}\n', "t.jsonl, line 2: bad JSON at column 10"),
        ("t.jsonl", '{"text": "a", "label": "b"}\n\n["c"]\n', "t.jsonl, line 3: the JSON is"),
        ("t.jsonl", '{"label": "b"}\n', "t.jsonl, line 1: there is no column 'text', only 'label'"),
        ("t.jsonl", '{"text": 3, "label": "b"}\n', "t.jsonl, line 1: the column 'text' is 3: expected a string"),
        ("t.jsonl", '{"text": null, "label": "b"}\n', "t.jsonl, line 1: the column 'text' is empty"),
        ("t.jsonl", '{"text": "a\\ud800", "label": "b"}\n', "t.jsonl, line 1: character 1 is the lone surrogate U+D800"),
        ("t.parquet", "text,label\na,b\n", "t.parquet: not a Parquet file, or damaged ("),
        ("t.parquet.gz", "", "t.parquet.gz: Parquet is compressed inside and is not read from .gz. Unpack it first."),
        ("t.feather", "", "t.feather: .feather files are not read. Write it as JSON lines"),
        ("t.txt", "", "the suffix '.txt' is invalid: expected .jsonl, .jsonlines, .ndjson, .ldjson, .json, .csv, .tsv,"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, name, content, message):
    refuses(message, write(tmp_path / name, content), label="label")


def test_empty_texts_are_passed_over_when_asked(tmp_path):
    path = write(tmp_path / "t.tsv", "text\ttext_pair\na\tb\n\tb\na\t \n")
    assert [record.place.split(", ")[1] for record in read_texts(path, pair="text_pair", skip_empty=True)] == ["line 2"]
    refuses("line 3: the column 'text' is empty", path, pair="text_pair")
    refuses("holds no record with a text", [{"text": " "}], skip_empty=True)


def test_an_empty_cell_of_one_column_is_a_row(tmp_path):
    path = write(tmp_path / "t.csv", "text\na\n\nb\n\n\n")
    assert list(read_rows(path)) == [Row({"text": text}, f"{path}, line {i}") for i, text in ((2, "a"), (3, ""), (4, "b"))]


def test_numbers_are_finite_numbers():
    assert read_texts([{"text": "a", "y": 2}], number="y")[0].number == 2.0
    for value in ("nan", "inf", "", None, "two", True, [1]):
        refuses("expected a finite number", [{"text": "a", "y": value}], number="y")
    refuses("record 1 is 'a': expected a mapping", ["a"])


def test_several_files_are_read_in_their_order(tmp_path):
    one = write(tmp_path / "one.csv", "text,label\na,x\n")
    other = write(tmp_path / "other.jsonl", '{"text": "b", "label": "y"}\n')
    found = read_texts([str(one), other, {"text": "c", "label": "x"}], label="label")
    assert [(each.text, each.labels, each.place) for each in found] == [
        ("a", ("x",), f"{one}, line 2"),
        ("b", ("y",), f"{other}, line 1"),
        ("c", ("x",), "record 1"),
    ]
    assert name_of([one, other]) == f"{one} and 1 more" and name_of([{}]) == "the records given"
    with pytest.raises(FileNotFoundError, match=re.escape("gone.csv")):
        read_texts(["gone.csv"])
    asked = {"question": "Who?", "context": "It was Ada.", "answers": ["Ada"], "answer_start": [7]}
    squad = {"data": [{"paragraphs": [{"context": "It was Bo.", "qas": [{"id": "7", "question": "Who?", "answers": []}]}]}]}
    files = [write(tmp_path / "a.jsonl", json.dumps(asked)), write(tmp_path / "b.json", json.dumps(squad))]
    assert [each.context for each in read_questions(files)] == ["It was Ada.", "It was Bo."]
    conll = write(tmp_path / "a.txt", "EU B-ORG\n"), write(tmp_path / "b.conllu", "1\tBo\t_\tPROPN" + "\t_" * 6 + "\n")
    rows = tagging([str(conll[0]), {"tokens": ["Ada"], "tags": ["O"]}], ByteTokenizer())
    assert [each.labels for each in rows.records] == [("B-ORG",), ("O",)]
    assert [each.labels for each in tagging([conll[1]], ByteTokenizer()).records] == [("PROPN",)]


def test_a_long_cell_is_read(tmp_path):
    path = write(tmp_path / "t.csv", "text\n" + "word " * 100_000 + "\n")
    assert len(read_texts(path)[0].text) == 500_000


def test_label_names_as_in_the_docstring():
    assert label_names(["neg", "pos", "pos"]) == ("neg", "pos")
    assert label_names(["10", "9", "10", "-1"]) == ("-1", "9", "10")
    assert label_names(["a", "0", "-", "1", "-2", "-1"]) == ("-2", "-1", "0", "1", "-", "a")
    assert label_names(["a"], ["b", "a"]) == ("b", "a")
    for given in ([], ["a", "a"], [""], [1]):
        with pytest.raises(ValueError, match="is invalid: expected distinct, non-empty strings"):
            label_names(["a"], given)


def rows_of(tmp_path, name, content):
    return [dict(row.columns) for row in read_rows(write(tmp_path / name, content))]


def test_tables_of_other_programs(tmp_path):
    """Excel where a comma is decimal, its line `sep=`, tables of pandas and GLUE; what the csv module wrote comes back."""
    rows = [{"text": 'so, "fine";\tit was', "label": "0,5"}, {"text": "no", "label": "1"}]
    for delimiter, name in ((";", "t.csv"), ("\t", "t.csv"), (",", "t.csv")):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
        content = (tmp_path / name).read_text()
        assert rows_of(tmp_path, name, content) == rows
        assert rows_of(tmp_path, name, f"sep={delimiter}\r\n{content}") == rows
    with (tmp_path / "t.tsv").open("w", newline="") as file:
        csv.DictWriter(file, ["text", "label"], delimiter="\t", quoting=csv.QUOTE_ALL).writerows(
            [{"text": "text", "label": "label"}, *rows]
        )
    assert rows_of(tmp_path, "t.tsv", (tmp_path / "t.tsv").read_text()) == rows
    found = rows_of(tmp_path, "t.tsv", 'text\tlabel\n"so ""fine"" it was"\t0\n"no" he said\t1\n"no"\t1\n""\t""""\n')
    assert [list(row.values()) for row in found] == [
        ['so "fine" it was', "0"],
        ['"no" he said', "1"],
        ['"no"', "1"],
        ['""', '"'],
    ]
    assert rows_of(tmp_path, "t.csv", "text , label\na,b\n") == [{"text": "a", "label": "b"}]
    refuses("t.csv, line 3: 1 columns: expected 2", write(tmp_path / "t.csv", "sep=;\ntext;label\na,b\n"), label="label")


@pytest.mark.parametrize(
    ("columns", "asked", "advice"),
    [
        (["sentence1", "sentence2", "label"], {}, {"text": "sentence1", "pair": "sentence2"}),
        (["premise", "hypothesis", "gold_label"], {}, {"text": "premise", "pair": "hypothesis"}),
        (["id", "Review", "sentiment"], {}, {"text": "Review"}),
        (["id", "text", "Sentiment"], {}, {"label": "Sentiment"}),
        (["text", "class"], {}, {"label": "class"}),
        (["text", "target"], {}, {"label": "target"}),
        (["text", "context", "label"], {"pair": "text_pair"}, {"pair": "context"}),
    ],
)
def test_a_columns_name_is_found_by_the_advice(columns, asked, advice):
    asked, row = {"label": "label"} | asked, dict.fromkeys(columns, "a")
    for _ in range(3):
        try:
            (found,) = read_texts([row], **asked)
        except ValueError as error:
            named = dict(part.split("=") for part in re.search(r"Name it: (.*)\. If", str(error))[1].split(", "))
            asked |= {name: value[1:-1] for name, value in named.items()}
    assert {name: asked[name] for name in advice} == advice
    assert found.labels == ("a",)


def test_a_table_without_a_line_of_names(tmp_path):
    refuses(
        "only 'I liked it', 'pos'. Name it: text=…. If a table has no first line of names, add one",
        write(tmp_path / "t.csv", "I liked it,pos\nNo,neg\n"),
    )
    path = write(tmp_path / "t.csv", "text,label\nI liked it,pos\nNo,neg\n")  # "Add one."
    assert [record.labels for record in read_texts(path, label="label")] == [("pos",), ("neg",)]
