"""Files of labelled words in, sentences out, checked; pure Python.

    .conllu          CoNLL-U: ten columns split by tabs (universaldependencies.org/format.html)
    any other name   CoNLL: columns split by spaces or tabs, the word first, a blank line after each sentence
    .gz .zst .bz2 .xz after them: the same, compressed

Source of the tag schemes IOB1 and IOB2: Tjong Kim Sang and Veenstra 1999, "Representing Text Chunks".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tfllm.corpus.formats import PathLike, suffix_of
from tfllm.corpus.lines import read_lines

CONLLU_COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")


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


def read_sentences(path: PathLike, *, column: int | str | None = None) -> list[Sentence]:
    """Sentences of a CoNLL or CoNLL-U file, entity tags as IOB2.

        -DOCSTART- -X- O O

        EU NNP I-NP I-ORG
        rejects VBZ I-VP O
        -> Sentence(("EU", "rejects"), ("B-ORG", "O"), (True, True), "train.txt, line 3")

    Args:
        column: of the label. CoNLL: counted from 0, or from the end with -1 (the default). CoNLL-U: its name (default "UPOS").

    Raises:
        ValueError: a wrong number of columns, a word without a label, tags that are neither IOB1 nor IOB2; no sentence.
    """
    if suffix_of(path) == ".conllu":
        sentences = list(_conllu(path, "UPOS" if column is None else column))
    else:
        sentences = as_iob2(list(_conll(path, -1 if column is None else column)))
    if not sentences:
        raise ValueError(f"{path} holds no sentence. Give one word a line, and a blank line after each sentence.")
    return sentences


def is_bio(labels: Iterable[str]) -> bool:
    """Are these labels of entities: O, B-… and I-… only, and not O alone?

    B-PER I-PER O -> True        O -> False        NOUN VERB -> False
    """
    found = set(labels)
    return bool(found - {"O"}) and all(re.fullmatch(r"O|[BI]-.+", label) for label in found)


def as_iob2(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Entity tags in IOB2; other labels (parts of speech) as they are.

        IOB1  I-PER I-PER O I-LOC B-LOC  ->  B-PER I-PER O B-LOC B-LOC
        IOB2  B-PER I-PER O B-LOC B-LOC  ->  the same

    All sentences decide together. Some I- opens an entity: they are IOB1, where a B- stands only right after an entity of
    its own type, to part the two. Tags that break both rules are an error.
    """
    tags = {tag for sentence in sentences for tag in sentence.labels}
    if not any(tag != "O" for tag in tags) or not all(re.fullmatch(r"O|[BIESLUM]-.+", tag) for tag in tags):
        return list(sentences)
    if other := sorted(tag for tag in tags if not re.fullmatch(r"O|[BI]-.+", tag)):
        place = next(sentence.place for sentence in sentences if other[0] in sentence.labels)
        raise ValueError(f"{place}: the tag {other[0]!r} is neither IOB1 nor IOB2. Convert the file to B-, I- and O.")
    opened = _first(sentences, lambda tag, before: tag[0] == "I" and before[2:] != tag[2:])
    if not opened:
        return list(sentences)
    if parted := _first(sentences, lambda tag, before: tag[0] == "B" and before[2:] != tag[2:]):
        raise ValueError(
            f"{opened} opens an entity, as in IOB1 only; {parted} does where nothing is to be parted, as in IOB2 only. "
            "Use one of the two throughout the file."
        )
    return [replace(sentence, labels=tuple(_open_with_b(sentence.labels))) for sentence in sentences]


def _open_with_b(tags: Sequence[str]) -> Iterator[str]:
    before = "O"
    for tag in tags:
        yield "B" + tag[1:] if tag != "O" and tag[2:] != before[2:] else tag
        before = tag


def _first(sentences: Sequence[Sentence], holds) -> str:  # type: ignore[no-untyped-def]
    """The first tag for which `holds(tag, the tag before)`, as an error names it; "" for none."""
    for sentence in sentences:
        for place, (tag, before) in enumerate(zip(sentence.labels, ("O", *sentence.labels), strict=False), 1):
            if tag != "O" and holds(tag, before):
                return f"{sentence.place}: {tag!r} of word {place} ({sentence.words[place - 1]!r})"
    return ""


def _blocks(path: PathLike, separator: str, comments: bool) -> Iterator[list[_Line]]:
    """Runs of lines between blank ones, cut into columns."""
    block: list[_Line] = []
    for number, text in read_lines(path):
        line = text.rstrip("\r\n")
        if not line.strip(" \t"):
            if block:
                yield block
            block = []
        elif not (comments and line.startswith("#")):
            block.append(_Line(number, re.split(separator, line.strip(" \t") if separator != "\t" else line)))
    if block:
        yield block


def _conll(path: PathLike, column: int | str) -> Iterator[Sentence]:
    if not isinstance(column, int):
        raise ValueError(f"{path}: column={column!r}; columns of CoNLL files have no names: give a number, or -1 for the last.")
    width = 0
    for block in _blocks(path, r"[ \t]+", comments=False):
        lines = [line for line in block if line.cells[0] != "-DOCSTART-"]
        for line in lines:
            width = width or len(line.cells)
            if len(line.cells) != width or width < 2:
                raise ValueError(
                    f"{path}, line {line.number}: {len(line.cells)} columns; accepted: "
                    f"{f'{width}, as in the lines before' if width > 1 else 'a word and at least one label'}."
                )
        if lines:
            if not (0 < column < width or -width < column < 0):
                raise ValueError(f"{path}: there is no label in column {column}; accepted: 1 to {width - 1}, or from the end.")
            yield _sentence(path, lines, 0, column, [True] * len(lines))


def _conllu(path: PathLike, column: int | str) -> Iterator[Sentence]:
    if column not in CONLLU_COLUMNS[1:]:
        raise ValueError(f"{path}: there is no column {column!r}; accepted: {', '.join(CONLLU_COLUMNS[1:])}.")
    place = CONLLU_COLUMNS.index(str(column))
    for block in _blocks(path, "\t", comments=True):
        words, joined_after = [], set()
        for line in block:
            if len(line.cells) != len(CONLLU_COLUMNS):
                raise ValueError(f"{path}, line {line.number}: {len(line.cells)} columns split by tabs; accepted: 10.")
            id, misc = line.cells[0], line.cells[-1].split("|")
            if span := re.fullmatch(r"([0-9]+)-([0-9]+)", id):
                # The words of a multiword token are read; what follows it, follows its last word.
                joined_after |= {int(span[2])} if "SpaceAfter=No" in misc else set()
            elif not re.fullmatch(r"[0-9]+\.[0-9]+", id):
                words.append(line)
                if id != str(len(words)):
                    raise ValueError(
                        f"{path}, line {line.number}: the ID is {id!r}; accepted here: '{len(words)}', as words count."
                    )
                joined_after |= {len(words)} if "SpaceAfter=No" in misc else set()
        if words:
            yield _sentence(path, words, 1, place, [number not in joined_after for number in range(1, len(words) + 1)])


def _sentence(path: PathLike, lines: Sequence[_Line], word: int, column: int, spaced: Sequence[bool]) -> Sentence:
    for line in lines:
        if not line.cells[word].strip() or line.cells[column] in ("", "_"):
            raise ValueError(f"{path}, line {line.number}: no word, or no label in column {column}: {line.cells}. Fill it in.")
    return Sentence(
        tuple(line.cells[word] for line in lines),
        tuple(line.cells[column] for line in lines),
        tuple(spaced),
        f"{path}, line {lines[0].number}",
    )
