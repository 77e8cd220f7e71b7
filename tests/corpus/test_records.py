"""JSON, tables and text of every form and compression: the same records for stores, tokenizers and labelled data.

Right values: Python's `json` and `csv` modules, read the other way round; errors by hand.
"""

import bz2
import csv
import gzip
import io
import json
import logging
import lzma
import random
import shlex
import subprocess
import sysconfig
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from tfllm.corpus.chunks import ReadOptions, plan_chunks
from tfllm.corpus.decompression import BLOCK_BYTES
from tfllm.corpus.documents import read_documents
from tfllm.corpus.formats import SourceError
from tfllm.corpus.lines import read_lines, split_lines
from tfllm.corpus.records import json_shape, read_records
from tfllm.corpus.sources import find_sources
from tfllm.corpus.texts import texts
from tfllm.tokenizers.training_text import Corpus

PACK = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}

RANDOM = random.Random(3)
RECORDS = [
    {"text": "".join(RANDOM.choices('ab"\\,\n\r\t é中😀\u2028', k=RANDOM.randint(1, 60))), "id": number, "x": {"y": [1]}}
    for number in range(80)
]


def table(dialect, **kwargs):
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, ["id", "text"], dialect=dialect, extrasaction="ignore", **kwargs)
    writer.writeheader()
    writer.writerows(RECORDS)
    return file.getvalue()


LINES = "".join(json.dumps(record, ensure_ascii=record["id"] % 2 == 0) + "\n" for record in RECORDS)
FORMS = {
    "lines.jsonl": LINES,
    "CRLF.JSONL": LINES.replace("\n", "\r\n"),
    "lines.ndjson": LINES,
    "lines.json": LINES,
    "array.json": json.dumps(RECORDS),
    "indented.json": json.dumps(RECORDS, indent=2, ensure_ascii=False),
    "several.json": "\n".join(json.dumps(record, indent=1) for record in RECORDS),
    "table.csv": table("excel"),
    "unix.csv": table("unix"),
}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same(tmp_path, name, suffix, mark):
    path = tmp_path / f"{name}{suffix.upper() if name.isupper() else suffix}"
    path.write_bytes(PACK[suffix]((mark + FORMS[name]).encode()))
    expected = [record["text"] for record in RECORDS]
    assert list(texts(path)) == list(texts(tmp_path)) == expected
    reading = ReadOptions()
    for chunk_bytes in (1, 700):
        chunks = list(plan_chunks(find_sources(path).sources, reading, chunk_bytes))
        assert len(chunks) > 3 or suffix  # a compressed file is cut after a megabyte at least
        assert [document.text for chunk in chunks for document in read_documents(chunk, reading)] == expected
    assert "".join(Corpus.of_paths(path).chunks) == "".join(expected)
    records = [record for record, _ in read_records(path)]
    assert [record["text"] for record in records] == expected
    assert records == RECORDS or [record["id"] for record in records] == [str(record["id"]) for record in RECORDS]


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("separator", [None, "\n", "\n\n", "aba", "—"])
def test_compressed_text_is_split_as_plain_text(tmp_path, suffix, separator):
    text = "".join(RANDOM.choices(["\n", "a", "b", "—", "\n\n\n"], k=800))
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACK[suffix](b"\xef\xbb\xbf" + text.encode()))
    expected = text.split(separator) if separator else [text]
    expected = expected[:-1] if not expected[-1] else expected
    reading = ReadOptions(separator=separator)
    for chunk_bytes in (1, 100, 1 << 20):
        chunks = list(plan_chunks(find_sources(path).sources, reading, chunk_bytes))
        assert [document.text for chunk in chunks for document in read_documents(chunk, reading)] == expected


def test_zstd_with_the_longest_window(tmp_path):
    parameters = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()  # of unknown size: the window stands
    (tmp_path / "a.jsonl.zst").write_bytes(compressor.compress(LINES.encode()) + compressor.flush())
    assert list(texts(tmp_path / "a.jsonl.zst")) == [record["text"] for record in RECORDS]


def test_shapes_as_in_the_docstring(tmp_path):
    def shape(text):
        (tmp_path / "a.json").write_text(text)
        return json_shape(tmp_path / "a.json", "")

    assert shape('{"text": "a"}\n{"text": "b"}\n') == ("lines", {"text": "a"})
    assert shape('[\n {"text": "a"}\n]') == ("array", {"text": "a"})
    assert shape('{\n "name": "x"\n}\n') == ("values", {"name": "x"})
    assert shape('{"text": "a"}') == ("lines", {"text": "a"})
    assert shape('{"text": "a"} {"text": "b"}') == ("values", {"text": "a"})
    assert shape("[]") == ("array", None)
    assert shape("// none") == shape("") == ("", None)
    long = json.dumps({"text": "x" * 3_000_000})
    assert shape(long + "\n" + long).kind == "lines"  # however long the first is


def test_one_object_with_a_text_is_a_record(tmp_path):
    """A folder of one document a file, as crawlers write them."""
    for number in range(3):
        (tmp_path / f"{number}.json").write_text(json.dumps({"text": f"text {number}", "url": "x"}, indent=2))
    assert list(texts(tmp_path)) == ["text 0", "text 1", "text 2"]


def test_an_empty_file_among_others(tmp_path):
    for name in ("a.csv", "b.json", "c.jsonl", "d"):
        (tmp_path / name).touch()
    (tmp_path / "e.txt").write_text("one")
    (tmp_path / "f.txt.gz").write_bytes(gzip.compress(b""))
    (tmp_path / "g.jsonl.gz").write_bytes(gzip.compress(b""))
    assert list(texts(tmp_path)) == ["", "one", ""]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '[{"text": "a"},]', "a.json: after record 1 a comma stands. Remove it: no record follows"),
        ("a.json", '[{"text": "a"}', r"a.json: after record 1 the file ends. Give a comma, or \] at the end"),
        ("a.json", '[{"text": "a"} {"text": "b"}]', "a.json: after record 1 '{' stands. Give a comma"),
        ("a.json", '[{"text": "a"}]\n{"text": "b"}', "a.json: after record 1 the array ends, and more follows"),
        ("a.json", '[{"text": "a"}, {"text": b}]', r"a.json, record 2: bad JSON \(Expecting value\)"),
        ("a.json", '[{"text": "a"}, "b"]', 'a.json, record 2: the JSON is "b": expected an object'),
        ("a.json", '[{"text": "a"}, {"body": "b"}]', "a.json, record 2: there is no 'text', only 'body'. Give field="),
        ("a.json", '[{"text": "a"}, {"text": null}]', "a.json, record 2: the field 'text' is None: expected a string"),
        ("a.json", '{"text": "a"}\n{"text": 1}\n', "a.json, line 2: the field 'text' is 1: expected a string"),
        ("a.json", '[{"text": "a"}, {"text": "caf\xe9"}]', r"a.json, record 2 \(byte 13 of the document is 0xe9\): not valid"),
        ("a.jsonl", '"bare"\n', "a.jsonl, line 1: the JSON is \"bare\": expected an object, such as {'text'"),
        ("a.jsonl", '{"text": "a"}\n{"text": ' + "1" * 5000 + "}\n", r"a.jsonl, line 2: bad JSON \(Exceeds the limit"),
        ("a.ndjson", '{"a": {"text": "b"}, "id": 1}\n', "a.ndjson, line 1: there is no 'text', only 'a', 'id'. Give field="),
        ("a.csv", 'id,text\n1,"a\n', "a.csv, line 2: unexpected end of data. Double the quotes"),
        ("a.csv", "id,text\n1,a\n2\n", "a.csv, line 3: 1 columns: expected 2"),
        ("a.csv", "id,text\n1,a\n2,caf\xe9\n", r"a.csv, record 2 \(byte 13 of the document is 0xe9\): not valid UTF-8"),
        ("a.tsv", "id\ttext\n", "a.tsv has no lines below its first"),
        ("a.txt", "caf\xe9", r"a.txt \(byte 3 of the document is 0xe9\): not valid UTF-8. Convert the file; if Windows wrote"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content.encode("cp1252"))
    for suffix in ("", ".gz"):
        path = tmp_path / (name + suffix)
        path.write_bytes(gzip.compress(content.encode("cp1252")) if suffix else content.encode("cp1252"))
        with pytest.raises(SourceError, match=message.replace(name, name + suffix)):
            list(texts(path))


def test_a_field_of_a_field_is_written_as_a_field_of_its_own(tmp_path):
    record = {"meta": {"text": "one"}, "id": 1}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    (tmp_path / "b.json").write_text(json.dumps([record]))
    pyarrow.parquet.write_table(pyarrow.table({"meta": [{"text": "one"}]}), tmp_path / "c.parquet")
    for name in ("a.jsonl", "b.json", "c.parquet"):
        with pytest.raises(SourceError, match=r"there is no 'meta\.text', only .*as jq -c '\{text: \.meta\.text\}' does"):
            list(texts(tmp_path / name, field="meta.text"))


@pytest.mark.parametrize(
    ("encoding", "name"), [("cp1252", "a b.txt"), ("utf-16", "a.txt"), ("cp1252", "a.jsonl"), ("utf-16", "a.csv")]
)
def test_the_command_that_an_error_names_mends_the_file(tmp_path, monkeypatch, encoding, name):
    monkeypatch.chdir(tmp_path)
    content = {"csv": "text\ncafé\n", "jsonl": '{"text": "café"}\n', "txt": "café"}[name.split(".")[1]]
    for suffix in ("", ".gz"):
        path = tmp_path / (name + suffix)
        path.write_bytes(PACK[suffix](content.encode(encoding)))
        with pytest.raises(SourceError) as error:
            list(texts(path))
        command = str(error.value).partition("Convert it: " if encoding == "utf-16" else "if Windows wrote it: ")[2]
        subprocess.run(command.partition(";")[0], shell=True, check=True)
        assert shlex.quote(f"utf8-{name}") in command
        assert list(texts(tmp_path / f"utf8-{name}")) == ["café"]


def test_a_compressed_file_by_another_name_is_read_under_the_name_that_is_said(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(gzip.compress(b"one"))
    with pytest.raises(SourceError, match=r"The file is compressed: rename it to .*/a\.txt\.gz;"):
        list(texts(path))
    assert list(texts(path.rename(tmp_path / "a.txt.gz"))) == ["one"]


def test_documents_that_are_not_utf8_are_skipped_in_every_form(tmp_path):
    for name, content in {
        "a.json": b'[{"text": "caf\xe9"}, {"text": "one"}]',
        "b.csv": b"text\ncaf\xe9\ntwo\n",
        "c.txt": b"caf\xe9",
        "d.jsonl.gz": gzip.compress(b'{"text": "caf\xe9"}\n{"text": "three"}\n'),
        "e.txt.gz": gzip.compress(b"caf\xe9"),
    }.items():
        (tmp_path / name).write_bytes(content)
    with pytest.warns(UserWarning, match=r"skipped 5 documents that are no UTF-8 text, in .*a\.json"):
        assert list(texts(tmp_path, invalid_utf8="skip")) == ["one", "two", "three"]
    with pytest.warns(UserWarning, match=r"skipped 5 documents that are no UTF-8 text, in .*a\.json"):
        assert list(Corpus.of_paths(tmp_path, invalid_utf8="skip").chunks) == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("data", "place"), [(b"a" * (BLOCK_BYTES - 1) + b"\xc3(", BLOCK_BYTES - 1), (b"a" * BLOCK_BYTES + b"\xc3", BLOCK_BYTES)]
)
def test_a_large_file_that_is_not_utf8_names_its_byte(tmp_path, data, place):
    """Stores hold a file whole, a tokenizer reads it in blocks: the byte is the same, at the end of either, too."""
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(SourceError, match=rf"a\.txt \(byte {place} of the document is 0xc3\)"):
        list(texts(tmp_path / "a.txt"))
    with pytest.raises(SourceError, match=rf"a\.txt \(byte {place} of the document is 0xc3\)"):
        list(Corpus.of_paths(tmp_path / "a.txt").chunks)


def test_lines_as_in_the_docstring(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbfa\nb")
    assert list(read_lines(tmp_path / "t.txt")) == [(1, "a\n"), (2, "b")]
    assert list(split_lines([b"a\nb", b"c\n"])) == [b"a\n", b"bc\n"]
    for text in (b"", b"\n", b"\n\na", b"ab\n\n"):
        for size in (1, 2, 9):
            blocks = [text[start : start + size] for start in range(0, len(text), size)]
            assert list(split_lines(blocks)) == text.splitlines(keepends=True)


def test_records_as_in_the_docstring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text('text,label\nfine,pos\n"so,\nso",neg\n')
    (tmp_path / "t.json").write_text('[{"text": "fine"}, {"text": "so"}]')
    assert list(read_records("t.csv")) == [
        ({"text": "fine", "label": "pos"}, "t.csv, line 2"),
        ({"text": "so,\nso", "label": "neg"}, "t.csv, line 3"),
    ]
    assert list(read_records("t.json")) == [({"text": "fine"}, "t.json, record 1"), ({"text": "so"}, "t.json, record 2")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"text": "caf\xe9"}]', r"t\.json, record 1: byte 0xE9 is not UTF-8\. Convert the file; if Windows wrote it: iconv"),
        (
            '[{"text": "a"}]'.encode("utf-16"),
            r"t\.json, line 1: byte 0 \(0xFF\) is not UTF-8\. It is UTF-16\. Convert it: iconv",
        ),
        (b"{text: 1}", r"t\.json, line 1: bad JSON at column 2"),
        (b"[1]", r"t\.json, record 1: the JSON is 1: expected an object"),
    ],
)
def test_labelled_json_that_is_wrong(tmp_path, content, message):
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        list(read_records(tmp_path / "t.json"))


def test_pythons_own_library_is_read_as_it_is(capfd, caplog):
    """Compiled files and libraries are skipped; every other file is a text."""
    library = Path(sysconfig.get_path("stdlib"))
    caplog.set_level(logging.INFO, "tfllm")
    found = find_sources(library, exclude=["site-packages", "test"])
    every = list(texts(library, exclude=["site-packages", "test"]))
    assert len(every) == len(found.sources) > 500
    assert (library / "os.py").read_text() in every
    assert {".pyc", ".so"} <= set(found.skipped.kinds)
    assert caplog.messages == [f"skipped {found.skipped}"] and capfd.readouterr().err == ""
