"""Which files a corpus is, what is skipped and counted, and what is refused before anything is read."""

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path

import pytest
import zstandard

from tfllm.corpus.formats import Format, SourceError, format_of, suffix_of
from tfllm.corpus.sources import SkippedFiles, find_sources

BINARY = b"\x7fELF\0\xff"

NOTEBOOK = json.dumps({"cells": [], "nbformat": 4}, indent=1)


@pytest.fixture
def lib(tmp_path, monkeypatch):
    for name in (
        "lib/os.py",
        "lib/json/tool.py",
        "lib/LICENSE",
        "lib/site-packages/pip.py",
        "lib/test/bad_coding.py",
        "lib/x.so",
        "lib/.git/a.py",
        "lib/.hidden.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BINARY if name.endswith(".so") else b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(*args, **kwargs):
    return [source.path for source in find_sources(*args, **kwargs).sources]


def passed(*args, **kwargs):
    return dict(find_sources(*args, **kwargs).skipped.kinds)


def test_a_folder_as_in_the_docstring(lib):
    found = find_sources("lib", exclude=["site-packages", "test/bad_*"])
    assert [source.path for source in found.sources] == ["lib/LICENSE", "lib/json/tool.py", "lib/os.py"]
    assert str(found.skipped) == "1 file: 1 .so"


def test_folders_pass_over_hidden_names_and_what_is_no_text(lib):
    (lib / "lib/lines.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n'))
    found = paths(Path("lib"))
    assert found == sorted(found)
    assert found == [
        "lib/LICENSE",
        "lib/json/tool.py",
        "lib/lines.jsonl.gz",
        "lib/os.py",
        "lib/site-packages/pip.py",
        "lib/test/bad_coding.py",
    ]


def test_globs_go_by_content_too(lib):
    assert paths("lib/**/*.py", exclude=["site-packages"]) == [
        "lib/json/tool.py",
        "lib/os.py",
        "lib/test/bad_coding.py",
    ]
    assert paths("lib/jso*") == ["lib/json/tool.py"]  # a folder that a glob names is searched as a folder
    assert paths("*/*/t?ol.py") == paths("**/tool.py") == ["lib/json/tool.py"]
    assert "lib/LICENSE" in paths("lib/**")
    assert passed("lib/**") == {".so": 1}
    assert paths("lib/**/*.py", exclude=["lib/*"]) == paths("lib/**/*.py")  # patterns begin below the plain part


def test_text_is_known_by_its_content_where_the_name_does_not_tell(lib):
    """`file` and Git tell binary data by the NULs of its beginning, too."""
    (lib / "lib").rename(lib / "rest")
    texts = {"Makefile": b"all:\n", "a.log.1": "é".encode(), "b.rare": b"\xef\xbb\xbfx", "c": b"x" * 8191 + "中".encode()}
    others = {"d": b"a\0b", "e.pyc": b"\xa7\r\r\n\0\0", "f.latin": b"caf\xe9", "g": b"h\0i\0", "core": BINARY}
    (lib / "lib").mkdir()
    for name, data in (texts | others).items():
        (lib / "lib" / name).write_bytes(data)
    assert paths("lib") == sorted(f"lib/{name}" for name in texts)
    assert passed("lib") == {"without suffix": 3, ".pyc": 1, ".latin": 1}
    assert str(find_sources("lib").skipped) == "5 files: 3 without suffix, 1 .latin, 1 .pyc"


def test_a_line_names_the_most_common_kinds():
    found = SkippedFiles()
    for number in range(11):
        for _ in range(number + 1):
            found.add(f".{number}", "no text")
    assert str(found) == "66 files: 11 .10, 10 .9, 9 .8, 8 .7, 7 .6, 6 .5, 5 .4, 4 .3, 6 of other kinds"


def test_json_without_texts_is_skipped_in_a_folder_and_refused_by_name(lib):
    files = {
        "package.json": json.dumps({"name": "x", "version": "1"}, indent=2),
        "tsconfig.json": '{ // with a comment\n "strict": true }',
        "list.json": "[1, 2]",
        "strings.json": '["one", "two"]',
        "empty.json": "[]",
        "number.json": '{"text": 5}',
        "book.ipynb": NOTEBOOK,
    }
    for name, text in files.items():
        (lib / "lib" / name).write_text(text)
    assert not set(paths("lib")) & {f"lib/{name}" for name in files}
    assert passed("lib") == {".so": 1, ".json without a string 'text'": 6, ".ipynb without a string 'text'": 1}
    for name, message in {
        "package.json": "in its first object there is no 'text', only 'name', 'version'. Give field=",
        "tsconfig.json": "is no JSON: expected JSON lines, or an array of objects",
        "list.json": "begins with 1: expected",
        "strings.json": "begins with 'one': expected JSON lines, or an array of objects, such as {'text': …}",
        "empty.json": "is an empty array: expected",
        "number.json": "the field 'text' is no string but 5. Give field=",
        "book.ipynb": "in its first object there is no 'text', only 'cells', 'nbformat'",
    }.items():
        with pytest.raises(SourceError, match=f"lib/{name}: {message}"):
            find_sources(f"lib/{name}")
    with pytest.raises(SourceError, match=r"(?s)Skipped 6 files: 6 \.json without a string 'text'\.\n  lib/empty\.json: is an"):
        find_sources("lib/*.json")
    assert paths("lib/package.json", field="name") == ["lib/package.json"]  # what the advice says


def test_tables_are_known_by_their_column(lib):
    (lib / "lib/a.csv").write_text("id,text\n1,one\n")
    (lib / "lib/b.tsv").write_text("id\tcontent\n1\tone\n")
    (lib / "lib/c.csv").write_text('"broken\n')
    (lib / "lib/d.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbftext\none\n"))
    assert {"lib/a.csv", "lib/d.csv.gz"} <= set(paths("lib"))
    assert passed("lib") == {".so": 1, ".tsv without a column 'text'": 1, ".csv without a column 'text'": 1}
    with pytest.raises(SourceError, match=r"lib/b\.tsv: there is no 'text', only 'id', 'content'\. Give field="):
        find_sources("lib/b.tsv")
    assert paths("lib/b.tsv", field="content") == ["lib/b.tsv"]


def test_what_is_excluded_is_not_looked_into(lib):
    seen = []
    scan = os.scandir

    def watch(folder):
        seen.append(str(folder))
        return scan(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", watch)
        paths("lib", exclude=["site-packages"])
        paths("lib/**/*.py", exclude=["site-packages"])
    assert "lib/json" in seen
    assert "lib/site-packages" not in seen


def test_each_file_once(lib):
    (lib / "lib/link.py").symlink_to(lib / "lib/os.py")
    assert paths(["lib/os.py", "lib", str(lib / "lib/os.py")]).count("lib/os.py") == 1
    assert "lib/link.py" not in paths(["lib/os.py", "lib"])
    assert paths("lib/link.py") == ["lib/link.py"]


def test_links_to_nowhere_and_pipes_are_counted(lib):
    os.mkfifo(lib / "lib/pipe.txt")
    (lib / "lib/gone.py").symlink_to("nowhere")
    assert passed("lib") == {".so": 1, "broken link": 1, "pipe or device": 1}


def test_exclusion_looks_only_below_what_was_given(lib):
    assert paths("lib/site-packages", exclude=["site-packages"]) == ["lib/site-packages/pip.py"]


def test_a_file_that_is_named_and_excluded_is_left_out(lib):
    """As where the shell wrote all names for a glob: "exclude it" is advice for these, too."""
    assert paths(["lib/os.py", "lib/x.so", "lib/json"], exclude=["x.so"]) == ["lib/json/tool.py", "lib/os.py"]


def test_formats_go_by_suffix_in_any_case():
    for name, found in {
        "a.txt": ("text", ""),
        "A.JSONL": ("jsonl", ""),
        "a.jsonl.gz": ("jsonl", "gz"),
        "a.ndjson.ZST": ("jsonl", "zst"),
        "c4.json.gz": ("json", "gz"),
        "a.csv.bz2": ("csv", "bz2"),
        "a.tsv.xz": ("tsv", "xz"),
        "a.txt.gz": ("text", "gz"),
        "ls.1.gz": ("text", "gz"),
        "a.parquet": ("parquet", ""),
        "README": ("text", ""),
    }.items():
        assert format_of(f"some.json/{name}") == Format(*found)
    assert suffix_of("a/Train.JSONL.gz") == ".jsonl"


PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.ZstdCompressor().compress}


@pytest.mark.parametrize("compression", PACK)
def test_what_is_wrong_with_a_compressed_file_is_said_and_mended_as_said(lib, compression):
    """Each advice is followed, and the file is read."""
    path, whole = lib / f"a.txt.{compression}", PACK[compression](b"one\n" * 50)

    def refused(data, advice):
        path.write_bytes(data)
        for given in (path, lib / "*.txt.*"):
            with pytest.raises(SourceError, match=rf"a\.txt\.{compression}: cannot be unpacked \(.*\)\. {advice}"):
                find_sources(given)

    refused(b"", "It is cut off or damaged: fetch or compress it again")
    refused(whole[: len(whole) // 2], "It is cut off or damaged: fetch or compress it again")
    path.write_bytes(whole)
    assert paths(path) == [str(path)]
    refused(b"one\n", r"It does not begin as .* if it is not compressed, rename it to .*/a\.txt;")
    assert paths(path.rename(lib / "a.txt")) == [str(lib / "a.txt")]
    (lib / "a.txt").unlink()
    other = "xz" if compression == "gz" else "gz"
    refused(PACK[other](b"one"), rf"It is compressed as \.{other}: rename it to .*/a\.txt\.{other}\.")
    assert paths(path.rename(lib / f"a.txt.{other}")) == [str(lib / f"a.txt.{other}")]


@pytest.mark.parametrize(
    ("given", "exclude", "message"),
    [
        ([], (), "No paths were given"),
        ("nowhere.txt", (), "'nowhere.txt' does not exist"),
        ("lib/*.md", (), r"'lib/\*.md' holds no file to read\. Give text"),
        ("nowhere/*.md", (), r"'nowhere/\*.md' holds no file to read\. Give text"),
        ("empty", (), "'empty' holds no file to read. Give text, JSON lines"),
        ("lib", ["*"], r"'lib' holds no file to read. All may be excluded by \['\*'\]"),
        (["lib/os.py", "lib/os.py"], ["os.py"], "'lib/os.py' holds no file to read. All may be excluded"),
        ("void.txt", (), r"Every file is empty \(void.txt"),
        ("dangling.txt", (), "dangling.txt: No such file"),
        ("pipe", (), "pipe is not a regular file"),
        ("lib/x.so", (), "lib/x.so: is binary, no text. Exclude it"),
        ("lib/*.so", (), r"(?s)'lib/\*.so' holds no file to read.*Skipped 1 file: 1 .so.*x.so: is binary"),
        ("a.zip", (), "a.zip: .zip files are not read. Unpack it"),
        ("a.tar.gz", (), "a.tar.gz: .tar files are not read. Unpack it"),
        (
            "a.pkl",
            (),
            r"Write it as JSON lines: pandas.read_pickle\('a.pkl'\).to_json\('a' \+ '.jsonl', orient='records', lines=True\)",
        ),
        ("a.arrow", (), r"Write it as JSON lines: datasets.Dataset.from_file\('a.arrow'\).to_json"),
        ("a.parquet.gz", (), "Parquet is compressed inside and is not read from .gz. Unpack it first"),
        ("*.pkl", (), r"(?s)'\*.pkl' holds no file to read.*Skipped 1 file: 1 .pkl.*read_pickle"),
        ("latin", (), "latin: is no UTF-8 text. Convert the file; if Windows wrote it: iconv -f WINDOWS-1252 -t UTF-8 latin"),
        (
            "wide.txt",
            (),
            "wide.txt: is no UTF-8 text. It is UTF-16LE. Convert it: iconv -f UTF-16LE -t UTF-8 wide.txt > utf8-w",
        ),
        ("wide", (), "wide: is no UTF-8 text. It is UTF-16BE. Convert it: iconv -f UTF-16BE -t UTF-8 wide > utf8-wide"),
        ("wide.json", (), "wide.json: is no UTF-8 text. It is UTF-16. Convert it: iconv -f UTF-16 -t UTF-8 wide.json"),
        ("packed", (), "packed: is no UTF-8 text. The file is compressed: rename it to packed.gz"),
    ],
)
def test_refusals_name_the_path(lib, given, exclude, message):
    (lib / "empty").mkdir()
    (lib / "void.txt").touch()
    (lib / "dangling.txt").symlink_to("gone")
    os.mkfifo(lib / "pipe")
    for name in ("a.zip", "a.tar.gz", "a.pkl", "a.arrow", "a.parquet.gz"):
        (lib / name).write_bytes(b"x")
    (lib / "latin").write_bytes("café".encode("cp1252"))
    (lib / "wide.txt").write_bytes("some words".encode("utf-16-le"))
    (lib / "wide").write_bytes("some words".encode("utf-16-be"))
    (lib / "wide.json").write_bytes('{"text": "one"}'.encode("utf-16"))
    (lib / "packed").write_bytes(gzip.compress(b"x"))
    with pytest.raises(SourceError, match=message):
        find_sources(given, exclude)


def test_a_path_that_is_not_there_is_a_file_not_found_error(lib):
    for path in ("nowhere.txt", "lib/*.md"):
        with pytest.raises(FileNotFoundError):
            find_sources(path)


def test_unreadable_files_and_folders_are_named(lib):
    locked = lib / "lib/os.py"
    locked.chmod(0)
    folder = lib / "lib/json"
    folder.chmod(0)
    lib.chmod(0o755)
    # Root reads everything, so ask as nobody, if we are root.
    was = os.geteuid()
    for parent in lib.parents:
        if parent.stat().st_uid == was and not parent.stat().st_mode & 0o005 and was == 0:
            parent.chmod(parent.stat().st_mode | 0o055)
    try:
        if was == 0:
            os.seteuid(65534)
        with pytest.raises(SourceError, match=r"os\.py: Permission denied"):
            find_sources(locked)
        with pytest.raises(SourceError, match="lib/json: Permission denied"):
            find_sources(lib / "lib")
    finally:
        os.seteuid(was)
        folder.chmod(0o755)
