r"""Files of labelled words in, sentences out, checked; pure Python.

    .conllu          CoNLL-U: ten columns split by tabs (universaldependencies.org/format.html)
    any other name   CoNLL: columns, the word first and its label last unless named, an empty line after each sentence
    .gz .zst .bz2 .xz after them: the same, compressed

CoNLL files are split at tabs if their first line of words has one (a word may hold spaces then), else at runs of spaces.
These lines hold no words:

    -DOCSTART- -X- O O                        begins a document (CoNLL-2003)
    #begin document (bc/cctv/00); part 000    and #end document: CoNLL-2012, whose words are in column 3, its names in column 10
    # id 0f1e domain=en                       before a sentence's first word: MultiCoNER's, CoNLL-U's "# sent_id = 1", and every
                                              other line that begins with "# " and has not as many columns as the file

A line of as many columns that begins with "# " is the word "#" where its label is one of the file's; else it is an error.
Schemes of entity tags: tag_schemes.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tfllm.corpus.formats import PathLike, suffix_of
from tfllm.corpus.lines import read_lines
from tfllm.data.labelled.conll_columns import check_columns_by_content
from tfllm.data.labelled.tag_schemes import to_iob2

__all__ = ["CONLLU_COLUMNS", "Sentence", "as_iob2", "read_sentences"]

CONLLU_COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")

_BOUNDARY = re.compile(r"-+DOCSTART-+(\s.*)?|#(begin|end) document\b.*")
_COMMENT = re.compile(r"#\s+(id\s+\S+(\s+domain=\S+)?|[^\s=]+(\s+[^\s=]+)?\s=(\s.*)?|newdoc|newpar)")
_TABS, _SPACES = re.compile(r" *\t *"), re.compile(r"[ \t]+")
_CONLL_2012 = (3, 10)
"""Columns of the word and of the entities' names."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words, a label each, and whether white space follows each (CoNLL does not say, and gets it everywhere)."""

    words: tuple[str, ...]
    labels: tuple[str, ...]
    spaced: tuple[bool, ...]
    place: str
    """Of its first word: "train.txt, line 7"."""

    @property
    def text(self) -> str:
        """The words with their spaces; none at the end. "EU" "rejects" -> "EU rejects"."""
        pieces = (word + " " * space for word, space in zip(self.words, self.spaced, strict=True))
        return "".join(pieces).removesuffix(" ") if self.spaced[-1] else "".join(pieces)


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class _Layout:
    split: re.Pattern[str]
    width: int
    """Columns of the first line of words."""
    word: int
    label: int
    """Columns."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A sentence as its file has it, and the line of each word."""

    words: tuple[str, ...]
    labels: tuple[str, ...]
    spaced: tuple[bool, ...]
    lines: tuple[int, ...]


def read_sentences(path: PathLike, *, column: int | str | None = None, word_column: int | str | None = None) -> list[Sentence]:
    """Sentences of a CoNLL or CoNLL-U file, entity tags as IOB2.

        -DOCSTART- -X- O O

        EU NNP I-NP I-ORG
        rejects VBZ I-VP O
        -> Sentence(("EU", "rejects"), ("B-ORG", "O"), (True, True), "train.txt, line 3")

        # sent_id = 1, and a first column that counts; word_column=1, column=2
        1 EU B-ORG ann
        2 rejects O ann
        -> Sentence(("EU", "rejects"), ("B-ORG", "O"), (True, True), "train.txt, line 2")

    Args:
        column: of the label. CoNLL: counted from 0, or from the end with -1 (the default). CoNLL-U: its name (default "UPOS").
            Counted from 0, sentences may differ in their number of columns, as in CoNLL-2009 and CoNLL-2012.
        word_column: of the word. CoNLL: counted the same way (default 0). CoNLL-U: its name (default "FORM").

    Raises:
        ValueError: a wrong number of columns, a word without a label, tags that nearly are those of a scheme, columns that were
            not named and seem to hold no words, or no labels (conll_columns.py); no sentence.
    """
    suffix = suffix_of(path)
    if suffix in (".csv", ".tsv"):
        raise ValueError(
            f"{path}: expected CoNLL or JSON lines, not {suffix}. Write CoNLL: a word, a tab and its label on each line; or "
            '.jsonl: {"tokens": ["EU", …], "tags": ["B-ORG", …]} on each.'
        )
    read = _conllu if suffix == ".conllu" else _conll
    found = list(read(path, column, word_column))
    if not found:
        raise ValueError(f"{path} holds no sentence. Give one word a line, and a blank line after each sentence.")
    labels = to_iob2([each.labels for each in found], lambda sentence, word: f"{path}, line {found[sentence].lines[word]}")
    return [
        Sentence(each.words, tags, each.spaced, f"{path}, line {each.lines[0]}")
        for each, tags in zip(found, labels, strict=True)
    ]


def as_iob2(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Sentences with entity tags in IOB2, from any scheme (tag_schemes.py); other labels (parts of speech) as they are.

    IOB1  I-PER I-PER O I-LOC B-LOC  ->  B-PER I-PER O B-LOC B-LOC
    """

    def place(number: int, word: int) -> str:
        return f"{sentences[number].place}, word {word + 1} ({sentences[number].words[word]!r})"

    tags = to_iob2([sentence.labels for sentence in sentences], place)
    return [replace(sentence, labels=labels) for sentence, labels in zip(sentences, tags, strict=True)]


def is_labelled(word: str, label: str) -> bool:
    """Are this a word and a label? "_", and "-" beside a word with letters, say that there is no label."""
    none = label in ("", "_") or (label == "-" and any(map(str.isalnum, word)))
    return not none and bool(word.strip()) and len(label.split()) == 1


def _conll(path: PathLike, column: int | str | None, word_column: int | str | None) -> Iterator[_Read]:
    lines = [(number, line.strip(" \t\r\n")) for number, line in read_lines(path)]
    for number, line in lines:
        if "\r" in line:
            raise ValueError(
                f"{path}, line {number}: a carriage return (CR) without a line feed (LF). End lines with LF or CRLF."
            )
    layout = _layout(path, lines, column, word_column)
    if layout is None:
        return
    width = layout.width
    for block in _blocks(lines):
        body = [
            _Line(number, layout.split.split(line)) for number, line in _without_comments(path, block, lines, layout, width)
        ]
        if body and layout.label >= 0:
            width = len(body[0].cells)  # as its own first line: CoNLL-2009 and CoNLL-2012 have a column for each predicate
            _check_columns(path, body[0].number, width, layout.word, layout.label)
        for each in body:
            if len(each.cells) != width:
                cells = f"{len(each.cells)} columns" + " split by tabs" * (layout.split is _TABS)
                raise ValueError(
                    f"{path}, line {each.number}: {cells}: expected {width}, as in the lines before. Correct the line."
                )
        if body:
            yield _read(path, body, layout.word, layout.label, [True] * len(body))


def _layout(
    path: PathLike, lines: Sequence[tuple[int, str]], column: int | str | None, word_column: int | str | None
) -> _Layout | None:
    """How a file's columns stand, by its first line of words; None: there is none."""
    words = [line for line in lines if line[1] and line[1][0] != "#" and not _is_boundary(line[1])]
    if not words:
        return None
    number, first = words[0]
    split = _TABS if "\t" in first else _SPACES
    width = len(split.split(first))
    if width < 2:
        raise ValueError(f"{path}, line {number}: 1 column: expected a word and at least one label. Write both on each line.")
    documents = width > max(_CONLL_2012) and any(line.startswith("#begin document") for _, line in lines)
    usual = _CONLL_2012 if documents else (0, -1)
    word, label = (
        _number(path, argument, given, other)
        for argument, given, other in zip(("word_column", "column"), (word_column, column), usual, strict=True)
    )
    _check_columns(path, number, width, word, label)
    if not documents:
        cells = [split.split(line) for _, line in words]
        given = dict(word=None if word_column is None else word, label=None if column is None else label)
        check_columns_by_content(path, [number for number, _ in words], cells, **given)
    return _Layout(split, width, word, label)


def _blocks(lines: Sequence[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Runs of lines between those that part sentences: empty ones, and those that begin or end a document."""
    block: list[tuple[int, str]] = []
    for number, line in [*lines, (0, "")]:
        if line and not _is_boundary(line):
            block.append((number, line))
        elif block:
            yield block
            block = []


def _is_boundary(line: str) -> bool:
    return line[0] in "-#" and _BOUNDARY.fullmatch(line) is not None


def _without_comments(
    path: PathLike, block: list[tuple[int, str]], lines: Sequence[tuple[int, str]], layout: _Layout, width: int
) -> list[tuple[int, str]]:
    """A block's lines of words: what comes before the first of them is a comment if it looks like one."""
    begin = 0
    while begin < len(block) and re.match(r"#\s|#$", block[begin][1]):
        number, line = block[begin]
        cells = layout.split.split(line)
        if not _COMMENT.fullmatch(line) and len(cells) == width:
            if cells[layout.label] in _labels(lines, layout):
                break
            raise ValueError(
                f"{path}, line {number}: {line!r:.60} is a comment, or the word '#' with the label {cells[layout.label]!r}, "
                "which no other word has. Write a comment as '# key = value', or correct the label."
            )
        begin += 1
    for number, line in block[begin:]:
        if line[0] == "#" and _COMMENT.fullmatch(line):
            raise ValueError(
                f"{path}, line {number}: the comment {line!r:.60} is inside a sentence. Put an empty line before it."
            )
    return block[begin:]


def _labels(lines: Sequence[tuple[int, str]], layout: _Layout) -> set[str]:
    """Labels of the words that are no '#', by a look at the whole file."""
    rows = (layout.split.split(line) for _, line in lines if line and line[0] != "#" and not _is_boundary(line))
    return {cells[layout.label] for cells in rows if len(cells) == layout.width}


def _number(path: PathLike, argument: str, column: int | str | None, usual: int) -> int:
    number = usual if column is None else column
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(
            f"{path}: {argument}={column!r} is invalid: expected a number, since columns of CoNLL files have no names. Give 0 "
            "for the first, -1 for the last."
        )
    return number


def _check_columns(path: PathLike, line: int, width: int, word: int, label: int) -> None:
    if not -width <= word < width:
        raise ValueError(
            f"{path}, line {line}: word_column={word} is invalid: expected 0 to {width - 1}, or -1 to -{width} from the end. "
            "Give the column of the word."
        )
    if not -width <= label < width or label % width == word % width:
        raise ValueError(
            f"{path}, line {line}: column={label} is invalid: expected 0 to {width - 1}, or -1 to -{width} from the end, but "
            f"not the word's column {word % width}. Give the column of the label."
        )


def _conllu(path: PathLike, column: int | str | None, word_column: int | str | None) -> Iterator[_Read]:
    for argument, name in (("column", column), ("word_column", word_column)):
        if name is not None and name not in CONLLU_COLUMNS[1:]:
            raise ValueError(f"{path}: {argument}={name!r} is invalid: expected one of {', '.join(CONLLU_COLUMNS[1:])}.")
    word, label = (CONLLU_COLUMNS.index(str(name)) for name in (word_column or "FORM", column or "UPOS"))
    lines = ((number, line.rstrip("\r\n")) for number, line in read_lines(path))
    kept = [(number, line if line.strip(" \t") else "") for number, line in lines if not line.startswith("#")]
    for block in _blocks(kept):
        words, joined_after = [], set()
        for line in (_Line(number, text.split("\t")) for number, text in block):
            if len(line.cells) != len(CONLLU_COLUMNS):
                raise ValueError(
                    f"{path}, line {line.number}: {len(line.cells)} columns split by tabs: expected the 10 of CoNLL-U. "
                    "Correct the line."
                )
            id, misc = line.cells[0], line.cells[-1].strip().split("|")
            if span := re.fullmatch(r"([0-9]+)-([0-9]+)", id):
                # The words of a multiword token are read; what follows it, follows its last word.
                joined_after |= {int(span[2])} if "SpaceAfter=No" in misc else set()
            elif not re.fullmatch(r"[0-9]+\.[0-9]+", id):
                words.append(line)
                if id != str(len(words)):
                    raise ValueError(
                        f"{path}, line {line.number}: the ID is {id!r}: expected '{len(words)}', the word's number in its "
                        "sentence. Correct it."
                    )
                joined_after |= {len(words)} if "SpaceAfter=No" in misc else set()
        if words:
            yield _read(path, words, word, label, [number not in joined_after for number in range(1, len(words) + 1)])


def _read(path: PathLike, lines: Sequence[_Line], word: int, label: int, spaced: Sequence[bool]) -> _Read:
    """A sentence; a word without a label is an error."""
    for line in lines:
        if not is_labelled(line.cells[word], line.cells[label]):
            raise ValueError(
                f"{path}, line {line.number}: no word, or no label in column {label}: {line.cells}. "
                "Fill it in, or name another column: column=…."
            )
    words, labels = (tuple(line.cells[column] for line in lines) for column in (word, label))
    return _Read(words, labels, tuple(spaced), tuple(line.number for line in lines))
