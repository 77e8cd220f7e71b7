"""The advice of every message about files, followed as a user would."""

# ruff: noqa: B023 - each function is called in its own turn of the loop

import gzip
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest
from advice import follow

from tfllm.corpus.chunks import ReadOptions, plan_chunks
from tfllm.corpus.documents import read_documents
from tfllm.corpus.formats import SourceError
from tfllm.corpus.records import read_records
from tfllm.corpus.sources import check_unchanged, find_sources
from tfllm.corpus.texts import texts

ONE = '{"text": "one"}'


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Writes a file, or removes it (None), in the current folder; true, to be followed by `and`."""
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        path = Path(name)
        if content is None:
            path.unlink()
        elif isinstance(content, dict):
            pyarrow.parquet.write_table(pyarrow.table(content), path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return True

    return write


def documents(*args, **settings):
    return list(texts(*args, **settings))


def records(path):
    return [record for record, _ in read_records(path)]


def test_json_that_is_none(put):
    def case(words, wrong, mended, right, name="a.json", read=documents):
        put(name, wrong)
        follow(words, lambda: read(name), lambda: put(name, mended) and read(name) == right)

    case("Give a comma, or ] at the end of the array.", f"[{ONE} {ONE}]", f"[{ONE}, {ONE}]", ["one"] * 2)
    case("Give a comma, or ] at the end of the array.", f"[{ONE}", f"[{ONE}]", ["one"])
    case("Remove it: no record follows.", f"[{ONE},]", f"[{ONE}]", ["one"])
    for mended in (f"[{ONE}, {ONE}]", f"{ONE}\n{ONE}\n"):
        case("Give one array, or one JSON object a line.", f"[{ONE}]\n{ONE}", mended, ["one"] * 2)
    case("Give one JSON object a line.", '{"text": one}\n', f"{ONE}\n", ["one"], "a.jsonl")
    case("Give one JSON object a line.", '{"text":\n"one"}\n', f"{ONE}\n", [{"text": "one"}], "a.jsonl", records)
    long, deep = '{"text": "one", "n": ' + "1" * 5000 + "}", '{"text": "one", "n": ' + "[" * 100_000 + "}"
    case("). Correct or remove it.", long, ONE, ["one"], "a.jsonl")
    case("). Correct or remove it.", f"{ONE}\n{long}", f"{ONE}\n", ["one"], "a.jsonl")
    case("JSON nested too deeply to be read. Correct or remove it.", f"{ONE}\n{deep}", f"{ONE}\n", ["one"], "a.jsonl")
    case("JSON nested too deeply to be read. Correct or remove it.", f"[{ONE}, {deep}]", f"[{ONE}]", ["one"])
    case("). Correct or remove it.", f"[{ONE}, {long}]", f"[{ONE}]", ["one"])
    case("). Correct or remove it.", f'[{ONE}, {{"text": two}}]', f"[{ONE}]", ["one"])
    case(": expected an object, such as", '"one"\n', f"{ONE}\n", ["one"], "a.jsonl")
    for mended in (f"{ONE}\n{ONE}\n", f"[{ONE}, {ONE}]"):
        case(": expected JSON lines, or an array of objects, such as", '["one", "one"]', mended, ["one"] * 2)
    case(". Remove the row.", f'{ONE}\n{{"text": 1}}\n', ONE, ["one"])


def test_fields(put):
    put("a.jsonl", '{"body": "one"}\n')
    put("b.txt", "two")
    follow(
        "Give field=…, or exclude the file.",
        lambda: documents("a.jsonl"),
        lambda: documents("a.jsonl", field="body") == ["one"],
    )
    follow(
        "Give field=…, or exclude the file.",
        lambda: documents("."),
        lambda: documents(".", exclude="a.jsonl") == ["two"],
    )
    put("c.jsonl", '{"meta": {"text": "one"}}\n')
    put("c.json", '[{"text": 5, "body": "one"}]')
    put("c.parquet", {"text": [1], "body": ["one"]})

    def by_jq():
        with pytest.raises(ValueError, match="as jq -c") as error:
            documents("c.jsonl", field="meta.text")
        command = str(error.value).partition("own, as ")[2].removesuffix(" does.")
        subprocess.run(f"{command} c.jsonl > d.jsonl", shell=True, check=True)
        return documents("d.jsonl") == ["one"]

    follow(
        "Nested fields are not supported: write it as a field of its own",
        lambda: documents("c.jsonl", field="meta.text"),
        by_jq,
    )
    follow(". Give field=….", lambda: documents("c.json"), lambda: documents("c.json", field="body") == ["one"])
    follow(
        ", not strings. Give another field=….",
        lambda: documents("c.parquet"),
        lambda: documents("c.parquet", field="body") == ["one"],
    )


def test_tables(put):
    def case(words, wrong, mended, right, name="a.csv"):
        put(name, wrong)
        follow(
            words, lambda: records(name), lambda: put(name, mended) and [list(row.values()) for row in records(name)] == right
        )

    case("The first line names the columns, each other line is a record.", "", "text\none\n", [["one"]])
    case("Give one a record.", "text\n", "text\none\n", [["one"]])
    case("Give each its own name.", "text,text\na,b\n", "text,label\na,b\n", [["a", "b"]])
    case(" columns: expected ", "text,label\na\n", "text,label\na,b\n", [["a", "b"]])
    case(
        "Double the quotes inside a quoted cell, and close it.",
        'text,label\n"a"b",c\n',
        'text,label\n"a""b",c\n',
        [['a"b', "c"]],
    )
    case("Double the quotes inside a quoted cell, and close it.", 'text,label\n"a,c\n', 'text,label\n"a",c\n', [["a", "c"]])
    for end in ("\n", "\r\n"):
        case("End lines with LF or CRLF", "text,label\ra,b\r", f"text,label{end}a,b{end}", [["a", "b"]])
    case("and quote a cell that holds a CR.", "text,label\na\rb,c\n", 'text,label\n"a\rb",c\n', [["a\rb", "c"]])
    put("a.txt", "")
    for name, content in {
        "a.csv": b"text\none\n",
        "a.tsv": b"text\none\n",
        "a.jsonl": ONE.encode(),
        "a.csv.gz": gzip.compress(b"text\none\n"),
    }.items():
        follow(
            ", all but .parquet also as .gz, .zst, .bz2, .xz. Convert the file.",
            lambda: records("a.txt"),
            lambda: put(name, content) and records(name) == [{"text": "one"}],
        )


def test_parquet(put):
    put("a.parquet", b"PAR1 nothing")
    put("b.txt", "two")
    follow("Replace it or exclude it.", lambda: documents("."), lambda: documents(".", exclude="a.parquet") == ["two"])
    good = {"text": ["one"]}
    follow(
        "Replace it or exclude it.",
        lambda: documents("a.parquet"),
        lambda: put("a.parquet", good) and documents("a.parquet") == ["one"],
    )
    put("a.parquet", {"text": ["one " * 9999]})
    data = bytearray(Path("a.parquet").read_bytes())
    data[4:60] = b"\xff" * 56
    put("a.parquet", bytes(data))
    follow(
        ", or damaged (",
        lambda: documents("a.parquet"),
        lambda: put("a.parquet", good) and documents("a.parquet") == ["one"],
    )
    put("a.parquet", {"text": ["one", None]})
    follow(
        " is None: expected a string. Remove the row.",
        lambda: documents("a.parquet"),
        lambda: put("a.parquet", good) and documents("a.parquet") == ["one"],
    )
    put("c.parquet", good)
    put("c.parquet.gz", gzip.compress(Path("c.parquet").read_bytes()))
    put("c.parquet", None)

    def unpacked():
        subprocess.run(["gunzip", "c.parquet.gz"], check=True)
        return documents("c.parquet") == ["one"]

    follow(" and is not read from .", lambda: documents("c.parquet.gz"), unpacked)


def test_formats_that_are_not_read(put):
    """The calls of `pandas` and `datasets`, which are not here, have others in their place: that these take them is theirs."""

    def write(path, **settings):
        assert settings in ({}, {"orient": "records", "lines": True})
        return put(path, ONE)

    table = SimpleNamespace(to_json=write)
    pandas = SimpleNamespace(**dict.fromkeys(("read_pickle", "read_excel", "read_feather"), lambda path: table))
    there = {"pandas": pandas, "datasets": SimpleNamespace(Dataset=SimpleNamespace(from_file=lambda path: table))}
    for name in ("a.pkl", "b.xlsx", "c.feather", "d.arrow"):
        put(name, "x")
        for reader in (documents, records):
            with pytest.raises(ValueError, match="Write it as JSON lines: ") as error:
                reader(name)
            eval(str(error.value).partition("JSON lines: ")[2].removesuffix("."), there)
        assert documents(f"{name[0]}.jsonl") == ["one"] and records(f"{name[0]}.jsonl") == [{"text": "one"}]
    subprocess.run("echo one > a.txt && tar czf a.tar.gz a.txt && rm a.txt", shell=True, check=True)

    def unpacked():
        subprocess.run(["tar", "xzf", "a.tar.gz"], check=True)
        return documents("a.txt") == ["one\n"]

    follow("Unpack it, and name the files that were in it.", lambda: documents("a.tar.gz"), unpacked)
    put("a.pdf", "%PDF")
    put("zip.txt", b"PK\x03\x04\x14\0\xff\xfe")
    extracted = lambda: documents("a.txt") == ["one\n"]  # noqa: E731
    follow("It is binary, no text: extract its text to a .txt file", lambda: documents("zip.txt"), extracted)
    follow("Extract its text to a .txt file.", lambda: documents("a.pdf"), extracted)


def test_what_is_left_out(put):
    """Excluded, or of documents skipped: the other file is read."""
    put("b.txt", "two")
    put("a.bin", b"\x7fELF\0\xff")
    put("list.json", '["one"]')
    put("wide", "one".encode("utf-16"))
    put("zip.txt", b"PK\x03\x04\x14\0\xff\xfe")
    put("latin.txt", "one caf\xe9".encode("latin-1"))
    put("half.jsonl", '{"text": "\\ud800"}\n')
    os.mkfifo("pipe")
    Path("gone").symlink_to("nowhere")
    for words, name in (
        ("is binary, no text. Exclude it.", "a.bin"),
        (" is not a regular file. Exclude it.", "pipe"),
        (". Repair or exclude it.", "gone"),
        ("}. Correct or exclude it.", "list.json"),
        ("; or exclude it.", "wide"),
        ("; or exclude the file, or give invalid_utf8='skip'.", "latin.txt"),
        ("It is binary, no text: extract its text to a .txt file; or exclude the file", "zip.txt"),
        ("Remove it, exclude the file, or give invalid_utf8='skip'.", "half.jsonl"),
    ):
        both = [name, "b.txt"]
        follow(words, lambda: documents(both), lambda: documents(both, exclude=name) == ["two"])
    for name in ("latin.txt", "half.jsonl"):
        with pytest.warns(UserWarning, match="skipped 1 documents"):
            assert documents([name, "b.txt"], invalid_utf8="skip") == ["two"]
    follow(". Repair or exclude it.", lambda: documents("gone"), lambda: put("nowhere", "one") and documents("gone") == ["one"])
    put("half.jsonl", '{"text": "one\\ud800"}\n')
    follow(
        "Remove it, exclude the file, or give",
        lambda: documents("half.jsonl"),
        lambda: put("half.jsonl", ONE) and documents("half.jsonl") == ["one"],
    )


def test_paths(put):
    put("a.txt", "one")
    Path("books").mkdir()
    put("books/b.txt", "two")
    for given in ("a.txt", ["a.txt"], "*.txt"):
        follow("No paths were given. Name files, folders or globs", lambda: documents([]), lambda: documents(given) == ["one"])
        follow(
            " does not exist. Name a file, a folder or a glob",
            lambda: documents("nowhere"),
            lambda: documents(given) == ["one"],
        )
    assert documents("books") == documents("books/**/*.txt") == ["two"]
    follow(" is the current one) or a glob", lambda: documents(""), lambda: documents(".") == ["one", "two"])
    for elsewhere in ("https://host/a.txt", ["https://host/a.txt"]):
        follow(" Download other files first.", lambda: documents(elsewhere), lambda: documents("a.txt") == ["one"])
    for words, wrong, right in (
        (" holds no file to read.", "*.md", "*.txt"),
        ("; quote globs, and check ", "b.*", "books/b.*"),
        ("Give text, JSON lines, JSON, CSV, TSV or Parquet", "*.bin", "a.txt"),
    ):
        put("a.bin", b"\x7fELF\0\xff")
        follow(words, lambda: documents(wrong), lambda: documents(right))
    follow(" All may be excluded by ", lambda: documents("a.txt", exclude=["*.txt"]), lambda: documents("a.txt") == ["one"])
    follow(
        " is invalid: expected one pattern or several, as strings.",
        lambda: documents(".", exclude=[1]),
        lambda: documents(".", exclude="books") == ["one"],
    )


def test_settings(put):
    put("a.txt", "one")
    follow("the name of a field", lambda: documents("a.txt", field=""), lambda: documents("a.txt", field="text") == ["one"])
    for right, found in ((None, ["one"]), ("n", ["o", "e"])):
        follow(
            "None, or the text between documents",
            lambda: documents("a.txt", separator=""),
            lambda: documents("a.txt", separator=right) == found,
        )
    for right in ("error", "skip"):
        follow(
            "'error' or 'skip'",
            lambda: documents("a.txt", invalid_utf8="replace"),
            lambda: documents("a.txt", invalid_utf8=right) == ["one"],
        )


def test_a_separator_of_other_line_ends(put):
    put("a.txt", b"one\r\n\r\ntwo\r\n")
    wrong = lambda: documents("a.txt", separator="\n\n")  # noqa: E731

    def converted() -> bool:
        with pytest.raises(SourceError, match=r"CRLF line ends\. Convert the file, (.*), or give") as error:
            wrong()
        subprocess.run(re.search(r"Convert the file, (.*), or give", str(error.value))[1], shell=True, check=True)
        return documents("a.txt.lf", separator="\n\n") == ["one", "two\n"]

    follow(" is only in it with CRLF line ends. Convert the file, tr -d '", wrong, converted)
    follow(", or give CRLF in the separator.", wrong, lambda: documents("a.txt", separator="\r\n\r\n") == ["one", "two\r\n"])
    put("b.txt", b"one\r\ntwo")
    assert documents("b.txt", separator="\n\n") == ["one\r\ntwo"]


def test_files_that_change(put):
    put("a.txt", "one two")
    found, reading = find_sources("a.txt").sources, ReadOptions()
    chunks = list(plan_chunks(found, reading, 100))
    put("a.txt", "one")
    again = lambda: documents("a.txt") == ["one"]  # noqa: E731
    follow(
        " became shorter while it was read. Call again when nothing writes to it.",
        lambda: list(read_documents(chunks[0], reading)),
        again,
    )
    follow(" changed while it was read. Call again when nothing writes to it.", lambda: check_unchanged(found), again)


def test_what_cannot_be_opened(put, monkeypatch):
    """The system's answer is made up: root, who may run this, reads everything."""
    put("a.txt", "one")
    put("b.txt", "two")
    Path("shut").mkdir()
    scandir, stat = os.scandir, os.stat

    def refusing(function, shut):
        def call(path, *args, **kwargs):
            if str(path).endswith(shut) and not opened:
                raise PermissionError(13, "Permission denied")
            return function(path, *args, **kwargs)

        return call

    opened = []
    monkeypatch.setattr(os, "scandir", refusing(scandir, "shut"))
    monkeypatch.setattr(os, "stat", refusing(stat, "a.txt"))
    words = "Make it readable, or exclude it."
    follow(words, lambda: documents("."), lambda: documents(".", exclude=["shut", "a.txt"]) == ["two"])
    follow(words, lambda: documents(["b.txt", "a.txt"]), lambda: opened.append(True) or documents(".") == ["one", "two"])
