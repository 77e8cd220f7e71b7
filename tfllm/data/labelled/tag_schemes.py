"""Entity tags in any of the usual schemes in, IOB2 out; pure Python.

    IOB1          I-PER I-PER O I-LOC B-LOC   B- stands only between two entities of a type that touch
    IOB2 (BIO)    B-PER I-PER O B-LOC B-LOC   what comes out
    IOBES, BIOES  B-PER E-PER O S-LOC S-LOC   E- is an entity's end, S- a single word (BILOU: L-, U-; BMES: M- inside)
    no type       B     I     O B     B       the type is called ENTITY
    brackets      (PER* *)    * (LOC) (LOC)   as CoNLL-2012 writes them

Which scheme it is, all tags of a source decide together. What fits none is an error with its place.

Source: Tjong Kim Sang and Veenstra 1999, "Representing Text Chunks" (IOB1, IOB2); Ratinov and Roth 2009 (BILOU);
https://cemantix.org/conll/2012/data.html (brackets).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

Place = Callable[[int, int], str]
"""Sentence and word, counted from 0 -> how an error calls the place."""

NO_TYPE = "ENTITY"
"""The type of entities whose tags are B, I and O alone."""

_TAG = re.compile(r"[BIESLUM]-.+")
_BRACKET = re.compile(r"\*\)?|\([^()*]+\*?\)?")
_NEAR_TAG = re.compile(r"([BIESLUMbieslum])[-_:.|/](.*)|(.+)[-_:.|/]([BIESLU])")
_SEVERAL = re.compile(r"[^\w\s-]([BIESLUM]-|O$)")
_IN_IOB2 = {"S": "B", "U": "B", "E": "I", "L": "I", "M": "I"}


def is_tag(label: str) -> bool:
    """Is a label a tag of one of the schemes?  O B B-PER (PER* -> True     NOUN * -> False"""
    return (
        label in ("O", "B", "I") or _TAG.fullmatch(label) is not None or (label[0] == "(" and bool(_BRACKET.fullmatch(label)))
    )


def to_iob2(sentences: Sequence[Sequence[str]], place: Place) -> list[tuple[str, ...]]:
    """Entity tags in IOB2, from the schemes above; other labels (parts of speech) as they are.

        I-PER I-PER O I-LOC B-LOC  ->  B-PER I-PER O B-LOC B-LOC
        B-PER E-PER O S-LOC        ->  B-PER I-PER O B-LOC
        B I O                      ->  B-ENTITY I-ENTITY O
        (PER* *) *                 ->  B-PER I-PER O
        NOUN VERB                  ->  NOUN VERB

    Args:
        sentences: a label for each word.

    Raises:
        ValueError: a tag that nearly is one of the scheme ("b-PER", "B_PER", "B-", "o"), one that goes on with no entity, or
            tags of IOB1 and of IOB2.
    """
    tags = {tag for sentence in sentences for tag in sentence}
    if any("*" in tag for tag in tags) and all(map(_BRACKET.fullmatch, tags)):
        return [tuple(_without_brackets(sentence, place, number)) for number, sentence in enumerate(sentences)]
    if _has_no_types(tags):
        sentences = [_typed(sentence) for sentence in sentences]
    elif not _has_scheme(tags):
        return [tuple(sentence) for sentence in sentences]
    _check_tags(sentences, place)
    if any(tag[0] in _IN_IOB2 for sentence in sentences for tag in sentence):
        return [tuple(_by_ends(sentence, place, number)) for number, sentence in enumerate(sentences)]
    return _by_beginnings(sentences, place)


def iob2_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """The names of all labels, as `to_iob2` leaves the tags.

    O B-PER I-PER E-PER S-PER  ->  O B-PER I-PER
    O B I                      ->  O B-ENTITY I-ENTITY
    NOUN VERB                  ->  NOUN VERB
    """
    typed = _typed(labels) if _has_no_types(set(labels)) else tuple(labels)
    if not all(tag == "O" or _TAG.fullmatch(tag) for tag in typed) or not any(tag[0] in "BI" for tag in typed):
        return typed
    return tuple(dict.fromkeys(tag if tag == "O" else _IN_IOB2.get(tag[0], tag[0]) + tag[1:] for tag in typed))


def _has_no_types(tags: set[str]) -> bool:
    """Are these B, I and O alone, or with letters of other schemes?"""
    return ("B" in tags and tags <= set("BIOESLUM")) or ("I" in tags and tags <= set("IO"))


def _typed(tags: Iterable[str]) -> tuple[str, ...]:
    """B I O -> B-ENTITY I-ENTITY O."""
    return tuple(tag if tag == "O" else f"{tag}-{NO_TYPE}" for tag in tags)


def _has_scheme(tags: set[str]) -> bool:
    """Are these tags of entities, or meant to be?"""
    whole = {tag for tag in tags if _TAG.fullmatch(tag)}
    others = tags - whole - {"O"}
    if whole:
        return not others or any(tag[0] in "BI" for tag in whole)
    # BPER IPER O: two letters of a scheme before one type.
    joined = [tag for tag in others if re.fullmatch(r"[BIESLUM]\w\w+", tag)]
    if "O" in tags and len(joined) == len(others) > len({tag[1:] for tag in others}):
        return True
    # B_PER I_PER O, b-per o: all tags miss a scheme by a little.
    near = [tag for tag in others if (_meant(tag) or "O")[0] in "BI"]
    return bool(near) and all(_meant(tag) for tag in others) and not tags.isdisjoint({"O", "o", "0"})


def _meant(tag: str) -> str | None:
    """The tag that was meant: b-PER -> B-PER; B_PER -> B-PER; PER-B -> B-PER; <PER> -> B-PER …; o -> O; NOUN -> None."""
    if tag in ("o", "0"):
        return "O"
    if found := re.fullmatch(r"<(\w[^<>]*)>", tag):
        return f"B-{found[1]} for the first word of the entity, I-{found[1]} for its other words"
    found = _NEAR_TAG.fullmatch(tag)
    if not found:
        return None
    return f"{found[1].upper()}-{found[2] or 'TYPE'}" if found[1] else f"{found[4]}-{found[3]}"


def _check_tags(sentences: Sequence[Sequence[str]], place: Place) -> None:
    """Every tag is of the scheme, and types differ by more than their case."""
    spelled: dict[str, str] = {}
    for number, sentence in enumerate(sentences):
        for word, tag in enumerate(sentence):
            if tag != "O" and not _TAG.fullmatch(tag):
                joined = re.fullmatch(r"([BIESLUM])(\w\w+)", tag)
                meant = _meant(tag) or (joined and f"{joined[1]}-{joined[2]}") or "O, or B-… or I-… with a type"
                raise ValueError(
                    f"{place(number, word)}: the tag is {tag!r}: expected a tag of the same scheme as the others. Write "
                    f"{meant}."
                )
            if _SEVERAL.search(tag):
                raise ValueError(
                    f"{place(number, word)}: the tag is {tag!r}: expected one tag for each word. Nested entities are not "
                    "supported: keep one tag, for example the outer entity's."
                )
            first = spelled.setdefault(tag[2:].casefold(), tag[2:])
            if first != tag[2:]:
                raise ValueError(
                    f"{place(number, word)}: the tag is {tag!r}, but its type was {first!r} before. Write both alike."
                )


def _by_beginnings(sentences: Sequence[Sequence[str]], place: Place) -> list[tuple[str, ...]]:
    """Tags of O, B- and I-: some I- opens an entity, and they are IOB1; or none does, and they are IOB2."""
    open_file = _first(sentences, lambda tag, before: tag[0] == "I" and before[2:] != tag[2:])
    if not open_file:
        return [tuple(sentence) for sentence in sentences]
    if parted := _first(sentences, lambda tag, before: tag[0] == "B" and before[2:] != tag[2:]):
        by_i, by_b = (f"{place(*found)}: {sentences[found[0]][found[1]]!r}" for found in (open_file, parted))
        raise ValueError(
            f"{by_i} begins an entity, as only in IOB1; {by_b} begins one that follows no entity of its type, as only in "
            "IOB2. Use one of the two schemes throughout."
        )
    return [tuple(_opened_with_b(sentence)) for sentence in sentences]


def _opened_with_b(tags: Sequence[str]) -> Iterator[str]:
    before = "O"
    for tag in tags:
        yield "B" + tag[1:] if tag != "O" and tag[2:] != before[2:] else tag
        before = tag


def _first(sentences: Sequence[Sequence[str]], holds: Callable[[str, str], bool]) -> tuple[int, int] | None:
    """Sentence and word of the first tag for which `holds(tag, the tag before)`."""
    for number, sentence in enumerate(sentences):
        for word, (tag, before) in enumerate(zip(sentence, ("O", *sentence), strict=False)):
            if tag != "O" and holds(tag, before):
                return number, word
    return None


def _by_ends(tags: Sequence[str], place: Place, number: int) -> Iterator[str]:
    """Tags of a scheme that marks ends and single words."""
    inside = ""  # the type of the entity that is open
    for word, tag in enumerate(tags):
        letter, type = (_IN_IOB2.get(tag[0], tag[0]), tag[2:]) if tag != "O" else ("O", "")
        if letter == "I" and type != inside:
            raise ValueError(
                f"{place(number, word)}: {tag!r} continues an entity, but no entity of its type has begun. In schemes with "
                "ends (E-, L-) or single words (S-, U-) each entity of several words begins with B-. Correct it."
            )
        inside = "" if tag[0] in "OESLU" else type
        yield tag if tag == "O" else f"{letter}-{type}"


def _without_brackets(tags: Sequence[str], place: Place, number: int) -> Iterator[str]:
    """(PER* * *) * (LOC) -> B-PER I-PER I-PER O B-LOC."""
    inside = ""
    for word, tag in enumerate(tags):
        opens = tag.startswith("(")
        if opens == bool(inside) and (opens or tag.endswith(")")):
            raise ValueError(
                f"{place(number, word)}: {tag!r} does not fit the brackets before it. Open and close each entity once."
            )
        inside = tag.strip("(*)") if opens else inside
        yield f"{'B' if opens else 'I'}-{inside}" if inside else "O"
        inside = "" if tag.endswith(")") else inside
    if inside:
        raise ValueError(
            f"{place(number, len(tags) - 1)}: the entity {inside!r} is not closed at the end of its sentence. Close it."
        )
