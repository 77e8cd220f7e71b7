"""docs/formats.md is true: every row of its tables is written, read, and compared."""

from __future__ import annotations

import bz2
import functools
import gzip
import json
import lzma
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

import tfllm
from tfllm import features
from tfllm.data.labelled import token_classification
from tfllm.data.labelled.question_files import read_questions
from tfllm.generation import GenerationConfig
from tfllm.interop.configs import read_config
from tfllm.tokenizers import ByteTokenizer

BYTES = ByteTokenizer()
PAGE = (Path(__file__).parents[1] / "docs" / "formats.md").read_text()
PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress}
PACK |= {".gzip": PACK[".gz"], ".zstd": PACK[".zst"]}
CODE = r"(?P<{0}_fence>`+) ?(?P<{0}>.*?) ?(?P={0}_fence)"
FILE = re.compile(f"{CODE.format('name')}(, {CODE.format('settings')})?")
BECOMES = re.compile(f"(?P<refused>refused: )?{CODE.format('value')}(, warns: {CODE.format('warning')})?")


@functools.cache
def sections() -> dict[str, tuple[str, list[list[str]]]]:
    """By heading: the code of a section, and its tables' rows; of each the cells, without the first row and the rule below."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
        rows = [row for table in tables for row in table.splitlines()[2:]]
        cells = [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
        found[section.partition("\n")[0]] = ("\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL)), cells)
    return found


def texts(source: Any, **settings: Any) -> list[str]:
    return list(tfllm.data.texts(source, **settings))


def texts_of(rows: Any) -> list[tuple[str, ...]]:
    """What the ids of each row say."""
    flats = [flat for flat in (rows.first, rows.second) if flat is not None]
    said = [[BYTES.decode(flat.values[slice(*flat.splits[row : row + 2])]) for row in range(len(rows))] for flat in flats]
    return list(zip(*said, strict=True))


def classification(source: Any, **settings: Any) -> list[Any]:
    rows = tfllm.data.text_classification(source, BYTES, **settings)
    values = rows.row_features[features.LABELS]
    if rows.multi_label:
        named: list[Any] = [[name for name, holds in zip(rows.labels, row, strict=True) if holds] for row in values]
    else:
        named = [rows.labels[number] for number in values]
    return [(*said, label) for said, label in zip(texts_of(rows), named, strict=True)]


def regression(source: Any, **settings: Any) -> list[Any]:
    rows = tfllm.data.regression(source, BYTES, **settings)
    numbers = rows.row_features[features.LABELS].tolist()
    return [(*said, pytest.approx(number)) for said, number in zip(texts_of(rows), numbers, strict=True)]


def pairs(source: Any, **settings: Any) -> list[Any]:
    said = [text for (text,) in texts_of(tfllm.data.text_pairs(source, BYTES, **settings))]
    return list(zip(said[::2], said[1::2], strict=True))


def tagging(source: Any, **settings: Any) -> list[Any]:
    rows = tfllm.data.tagging(source, BYTES, **settings)
    return [(sentence.text, list(sentence.labels)) for sentence in rows.records]


def questions(source: Any, **settings: Any) -> list[Any]:
    return [(record.question, list(record.answers)) for record in read_questions(source, **settings)]


class Encoded:
    """Equal to a kind and ids of texts."""

    def __init__(self, path: Path):
        self.tokenizer = tfllm.tokenizers.load(path)

    def __eq__(self, other: Any) -> bool:
        kind, ids = other
        return self.tokenizer.kind == kind and all(self.tokenizer.encode(text) == found for text, found in ids.items())


def written(folder: Path, name: str, content: Any) -> Any:
    """What a reader is given: the path of the file, or of the folder of files, or the records."""
    if name == "records":
        return content
    if name == "folder":
        for each, inside in content.items():
            written(folder, each, inside)
        return folder
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(content), path)
        return path
    data = content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode()
    packed = path.suffix in PACK and not isinstance(content, bytes)
    path.write_bytes(PACK[path.suffix](data) if packed else data)
    return path


def literal(text: str, names: Mapping[str, Any]) -> Any:
    return eval(text, {"true": True, "false": False, **names})


def says(message: str, words: str) -> bool:
    """Does a message say these words, with others where … stands between them?"""
    return re.search(".*".join(map(re.escape, words.split("…"))), message, re.DOTALL) is not None


READERS: dict[str, tuple[Callable[..., Any], int]] = {
    "Text: stores, tokenizers": (texts, 40),
    "Text classification": (classification, 40),
    "Regression": (regression, 8),
    "Pairs for embeddings": (pairs, 6),
    "Tagging": (tagging, 35),
    "Question answering": (questions, 12),
    "Tokenizers of Hugging Face": (Encoded, 10),
}
"""What reads the files of a section, and the least number of rows that it has."""
SETTINGS: dict[str, tuple[Callable[..., Any], int]] = {
    "Generation settings' names": (lambda **given: GenerationConfig(**given).to_dict(), 21),
    "Checkpoint folders": (lambda **given: read_config(given).to_dict(), 9),
}
"""The same, of sections without files."""
ROWS = [(heading, row) for heading, (_, rows) in sections().items() for row in rows]


@pytest.fixture(scope="module", autouse=True)
def one_trace() -> Iterator[None]:
    """Tagging traces a graph a call: here it is the same for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_classification, "cutter", functools.cache(token_classification.cutter))
        yield


def arguments(text: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """`BASE, name=value` or `name=value`: the arguments of a call."""
    base, _, rest = text.partition(", ") if re.match(r"[A-Z]+\b", text) else ("{}", "", text)
    return {**literal(base, names), **literal(f"dict({rest})", names)}


def read(heading: str, given: list[str], folder: Path, names: Mapping[str, Any]) -> Any:
    """What a section's reader makes of the first cells of a row."""
    if heading in SETTINGS:
        settings = re.fullmatch(CODE.format("settings"), *given)
        assert settings, f"not understood: {given}"
        return SETTINGS[heading][0](**arguments(settings["settings"], names))
    _, file, content = given
    found, inside = FILE.fullmatch(file), re.fullmatch(CODE.format("content"), content)
    assert found and inside, f"not understood: {given}"
    source = written(folder, found["name"], literal(inside["content"], names))
    return READERS[heading][0](source, **arguments(found["settings"] or "", names))


def check(heading: str, row: list[str], folder: Path) -> Any:
    """What a row is read as, which is what it says; None where it is refused, as it says."""
    *given, becomes = row
    names: dict[str, Any] = {}
    exec(sections()[heading][0], names)
    expected = BECOMES.fullmatch(becomes)
    assert expected, f"not understood: {becomes}"
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        if expected["refused"]:
            with pytest.raises((ValueError, FileNotFoundError)) as error:
                read(heading, given, folder, names)
            assert says(str(error.value), expected["value"]), str(error.value)
            return None
        result = read(heading, given, folder, names)
    messages = [str(each.message) for each in warned if issubclass(each.category, UserWarning)]
    assert len(messages) == bool(expected["warning"]), messages
    assert all(says(message, expected["warning"]) for message in messages), messages
    if heading not in SETTINGS:
        assert result == literal(expected["value"], names)
    elif heading == "Checkpoint folders":
        assert result.items() >= arguments(expected["value"], names).items()
    else:
        assert result == GenerationConfig(**arguments(expected["value"], names)).to_dict()
    return result


@pytest.mark.parametrize(("heading", "row"), ROWS, ids=[f"{heading}: {row[0]}" for heading, row in ROWS])
def test_a_row(heading: str, row: list[str], tmp_path: Path) -> None:
    check(heading, row, tmp_path)


def test_every_section_is_read() -> None:
    assert list(sections()) == [*READERS, *SETTINGS, "Batches of your own"]
    for heading, (_, least) in (READERS | SETTINGS).items():
        assert len(sections()[heading][1]) >= least, heading


@pytest.mark.parametrize(
    ("heading", "row"),
    [
        ("Regression", ["", "`t.csv`", r'`"text,label\na,1\n"`', '`[("a", 2.0)]`']),
        ("Regression", ["", "`t.csv`", r'`"text,label\na,1\n"`', "refused: `a finite number`"]),
        ("Regression", ["", "`t.csv`", r'`"text,label\na,b\n"`', '`[("a", 1.0)]`']),
        ("Regression", ["", "`t.csv`", r'`"text,label\na,b\n"`', "refused: `an infinite number`"]),
        ("Regression", ["", "`t.csv`", r'`"text,label\na,1\n"`', '`[("a", 1.0)]`, warns: `of it`']),
        ("Regression", ["", "`t.csv`", r'`"text,label\na,1\n"`', '[("a", 1.0)]']),
        ("Regression", ["", "t.csv", r'`"text,label\na,1\n"`', '`[("a", 1.0)]`']),
        ("Tokenizers of Hugging Face", ["", "`folder`", '`{"vocab.txt": VOCAB}`', '`("wordpiece", {"cat": [5]})`']),
        ("Generation settings' names", ["`n=2`", "`num_sequences=3`"]),
        ("Checkpoint folders", ["`DECODER`", "`causal=False`"]),
    ],
)
def test_a_row_that_is_wrong_fails(heading: str, row: list[str], tmp_path: Path) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError)):
        check(heading, row, tmp_path)


def test_a_store_reads_the_same_texts(tmp_path: Path) -> None:
    """Every row of the first section that is accepted without settings, in one folder."""
    accepted = [row for row in sections()["Text: stores, tokenizers"][1] if row[3][0] == "`" and "," not in row[1]]
    found: set[str] = set()
    for number, row in enumerate(accepted):
        (tmp_path / "in" / str(number)).mkdir(parents=True)
        found |= set(check("Text: stores, tokenizers", row, tmp_path / "in" / str(number)))
    store = tfllm.data.prepare(tmp_path / "in", BYTES, tmp_path / "store", validation=0, processes=1, progress=False)
    assert set(store.texts("train", BYTES)) == found
    assert len(accepted) > 15
