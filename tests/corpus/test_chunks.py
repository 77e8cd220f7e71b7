"""From files to documents: the same documents however the files are cut, and errors that name file and line."""

import gzip
import io
import json
import random

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from tfllm.corpus import documents as module
from tfllm.corpus.chunks import ReadOptions, plan_chunks
from tfllm.corpus.documents import read_documents
from tfllm.corpus.formats import SourceError
from tfllm.corpus.sources import find_sources


def chunks_of(path, chunk_bytes=1 << 20, **settings):
    chunks = list(
        plan_chunks(find_sources(path, field=settings.get("field", "text")).sources, ReadOptions(**settings), chunk_bytes)
    )
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    return chunks


def documents(path, chunk_bytes=1 << 20, **settings):
    reading = ReadOptions(**settings)
    return [doc.data for chunk in chunks_of(path, chunk_bytes, **settings) for doc in read_documents(chunk, reading)]


def test_plan_as_in_the_docstring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, size in {"a.txt": 3000, "b.txt": 2000, "c.jsonl": 9000}.items():
        (tmp_path / name).write_bytes((b"x" * 99 + b"\n") * (size // 100))
    chunks = chunks_of(["a.txt", "b.txt", "c.jsonl"], 4000)
    assert [[(span.path, span.start, span.end) for span in chunk.spans] for chunk in chunks] == [
        [("a.txt", 0, 3000), ("b.txt", 0, 2000)],
        [("c.jsonl", 0, 4000)],
        [("c.jsonl", 4000, 8000)],
        [("c.jsonl", 8000, 9000)],
    ]
    assert [chunk.size for chunk in chunks] == [5000, 4000, 4000, 1000]


def test_read_as_in_the_docstring(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\n")
    (tmp_path / "b.txt").write_bytes(b"one--two--")
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "one"}\n\n{"text": "two"}')
    assert documents(tmp_path / "a.txt") == [b"one\n"]
    assert documents(tmp_path / "b.txt", separator="--") == [b"one", b"two"]
    assert documents(tmp_path / "c.jsonl") == [b"one", b"two"]


def test_text_is_left_as_it_is(tmp_path):
    data = "a\r\nb\ufeff\r\x00\u2028\u2581 é中\t \n\n".encode()
    (tmp_path / "a.txt").write_bytes(data)
    assert documents(tmp_path) == [data]


@pytest.mark.parametrize("separator", ["\n", "\n\n", "aba", "—"])
def test_cutting_a_file_does_not_change_its_documents(tmp_path, separator):
    text = "".join(random.Random(7).choices(["\n", "a", "b", "—", "\n\n\n"], k=3000))
    (tmp_path / "a.txt").write_bytes(text.encode())
    whole = text.split(separator)
    expected = [part.encode() for part in whole[: len(whole) - (whole[-1] == "")]]
    for chunk_bytes in (1, 7, 100, 1000, 1 << 20):
        assert documents(tmp_path, chunk_bytes, separator=separator) == expected
    assert len(chunks_of(tmp_path, 100, separator=separator)) > 10


def packings(tmp_path, lines):
    data = "".join(line + "\n" for line in lines).encode()
    (tmp_path / "a.jsonl").write_bytes(data)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(data[:600]) + gzip.compress(data[600:]))
    pack = zstandard.ZstdCompressor().compress
    (tmp_path / "c.jsonl.zst").write_bytes(pack(data[:500]) + pack(data[500:]))
    return [tmp_path / name for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst")]


def test_packed_lines_read_as_plain_ones(tmp_path, monkeypatch):
    texts = [f"line {number} " + "x中" * (number % 17) for number in range(300)]
    for path in packings(tmp_path, [json.dumps({"text": text, "other": 1}) for text in texts]):
        for chunk_bytes in (1, 500, 1 << 20):
            assert documents(path, chunk_bytes) == [text.encode() for text in texts]
        size = sum(chunk.size for chunk in chunks_of(path, 500))
        assert 0 <= path.stat().st_size - size < 50  # a packer's last bytes may follow the last line


def test_large_packed_files_are_cut(tmp_path):
    lines = [json.dumps({"text": str(number) * 50}) for number in range(30_000)]
    for path in packings(tmp_path, lines):
        assert len(chunks_of(path, 1 << 20)) > 3
        assert len(documents(path, 1 << 20)) == len(lines)


def test_parquet(tmp_path):
    table = pyarrow.table({"text": ["one", "", "three"] * 100, "id": range(300)})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    assert len(chunks_of(tmp_path, 1)) == 3
    assert documents(tmp_path, 1) == [b"one", b"", b"three"] * 100
    with pytest.raises(SourceError, match=r"a\.parquet: there is no 'body', only 'text', 'id'\. Give field="):
        chunks_of(tmp_path, field="body")
    with pytest.raises(SourceError, match=r"a\.parquet: column 'id' holds int64, not strings"):
        chunks_of(tmp_path, field="id")
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(SourceError, match=r"a\.parquet: not a Parquet file"):
        chunks_of(tmp_path)


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string()])
def test_rows_that_cannot_be_read_are_numbered(tmp_path, kind):
    def write(row):
        data = pyarrow.array([b"x"] * 150 + [row] + [b"y"] * 149, pyarrow.large_binary())
        # Arrow checks what becomes a string; other writers of Parquet do not.
        bounds = data.buffers() if kind == pyarrow.large_string() else data.cast(pyarrow.binary()).buffers()
        table = pyarrow.table({"text": pyarrow.Array.from_buffers(kind, 300, bounds)})
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=100)

    write(b"ab\xff")
    for chunk_bytes in (1, 1 << 20):
        with pytest.raises(SourceError, match=r"a\.parquet, row 151 \(byte 2 of the document is 0xff\): not valid UTF-8"):
            documents(tmp_path, chunk_bytes)
        reading = ReadOptions(invalid_utf8="skip")
        texts = [doc.text for chunk in chunks_of(tmp_path, chunk_bytes) for doc in read_documents(chunk, reading)]
        assert texts == ["x"] * 150 + [None] + ["y"] * 149
    write(None)
    with pytest.raises(SourceError, match=r"a\.parquet, row 151: the field 'text' is None: expected a string\. Remove the row"):
        documents(tmp_path, 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{text: 1}", "bad JSON at column 2"),
        ("[1]", r"the JSON is \[1\]: expected an object"),
        ('{"body": "x", "id": 1}', "there is no 'text', only 'body', 'id'. Give field="),
        ('{"text": 5}', "field 'text' is 5: expected a string"),
        ("[" * 100_000, "JSON nested too deeply to be read. Correct or remove it"),
        ('{"text": "\\ud800"}', r"a lone surrogate\): not valid UTF-8"),
    ],
)
def test_lines_that_cannot_be_read_are_numbered(tmp_path, line, message):
    lines = ['{"text": "x"}'] * 200
    lines[150] = line
    for path in packings(tmp_path, lines):
        for chunk_bytes in (300, 1 << 20):
            with pytest.raises(SourceError, match=rf"{path.name}, line 151.*{message}"):
                documents(path, chunk_bytes)


@pytest.mark.parametrize("name", ["b.jsonl.gz", "c.jsonl.zst"])
def test_a_packed_file_that_was_cut_off_is_an_error(tmp_path, name):
    packings(tmp_path, [json.dumps({"text": random.Random(n).randbytes(40).hex()}) for n in range(9000)])
    path = tmp_path / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=f"{name}: cannot be unpacked"):
        chunks_of(path)
    path.write_bytes(b"junk" + whole)
    with pytest.raises(SourceError, match=f"{name}: cannot be unpacked"):
        chunks_of(path)


def test_invalid_utf8(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"ab\xff")
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "x"}\n{"text": "\xe4"}\n')
    with pytest.raises(SourceError, match=r"a\.txt \(byte 2 of the document is 0xff\): not valid UTF-8"):
        documents(tmp_path / "a.txt")
    with pytest.raises(SourceError, match=r"b\.jsonl, line 2 \(byte 10 .* is 0xe4\)"):
        documents(tmp_path / "b.jsonl")
    reading = ReadOptions(invalid_utf8="skip")
    texts = [doc.text for chunk in chunks_of(tmp_path) for doc in read_documents(chunk, reading)]
    assert texts == [None, "x", None]


def test_a_file_that_shrinks_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x" * 10)
    chunks = chunks_of(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"x")
    with pytest.raises(SourceError, match="became shorter"):
        list(read_documents(chunks[0], ReadOptions()))


def test_lines_are_counted_for_errors_only_and_in_blocks(tmp_path, monkeypatch):
    line = b'{"text": "' + b"x" * 700 + b'"}\n'
    (tmp_path / "a.jsonl").write_bytes(line * 3000 + b"\xff\n")
    *_, last = chunks_of(tmp_path, 1 << 21)
    (span,) = last.spans
    sizes = []

    class File(io.BytesIO):
        def read(self, size=-1):
            sizes.append(size)
            return super().read(size)

    monkeypatch.setattr(module, "open_file", lambda path: File((tmp_path / "a.jsonl").read_bytes()))
    assert [doc.text is None for doc in read_documents(last, ReadOptions(invalid_utf8="skip"))][-2:] == [False, True]
    assert sizes == [span.end - span.start]
    with pytest.raises(SourceError, match=r"a\.jsonl, line 3001 \(byte 0"):
        list(read_documents(last, ReadOptions()))
    assert span.start > 1 << 20
    assert max(sizes[2:]) <= 1 << 20
