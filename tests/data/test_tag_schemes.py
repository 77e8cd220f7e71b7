"""Schemes of entity tags: the same entities as seqeval finds in each, and every near miss named."""

import re

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from tfllm.data.labelled.tag_schemes import iob2_labels, to_iob2
from tfllm.text.tags import is_iob2


def place(sentence, word):
    return f"t.txt, line {10 * sentence + word}"


def converted(*sentences):
    return [" ".join(tags) for tags in to_iob2([sentence.split() for sentence in sentences], place)]


def refuses(message, *sentences):
    with pytest.raises(ValueError, match=re.escape(message)):
        converted(*sentences)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("I-PER I-PER O I-LOC B-LOC", "B-PER I-PER O B-LOC B-LOC"),
        ("B-PER I-PER O B-LOC B-LOC", "B-PER I-PER O B-LOC B-LOC"),
        ("I-PER I-LOC I-LOC B-LOC I-LOC", "B-PER B-LOC I-LOC B-LOC I-LOC"),
        ("B-PER E-PER O S-LOC S-LOC B-ORG I-ORG E-ORG", "B-PER I-PER O B-LOC B-LOC B-ORG I-ORG I-ORG"),
        ("B-PER L-PER O U-LOC U-LOC B-ORG I-ORG L-ORG", "B-PER I-PER O B-LOC B-LOC B-ORG I-ORG I-ORG"),
        ("B-PER M-PER E-PER O S-MISC B-PER O", "B-PER I-PER I-PER O B-MISC B-PER O"),
        ("B I O B B", "B-ENTITY I-ENTITY O B-ENTITY B-ENTITY"),
        ("I O I I", "B-ENTITY O B-ENTITY I-ENTITY"),
        ("B E O S", "B-ENTITY I-ENTITY O B-ENTITY"),
        ("(PER* *) * (LOC) (LOC)", "B-PER I-PER O B-LOC B-LOC"),
        ("NOUN I VERB", "NOUN I VERB"),
        ("E-X NOUN O", "E-X NOUN O"),
        ("B.1 I.2", "B.1 I.2"),
        ("O O", "O O"),
    ],
)
def test_schemes_as_in_the_docstrings(before, after):
    assert converted(before) == [after]


@pytest.mark.parametrize(
    "tags",
    [
        "B-PER E-PER O S-LOC S-LOC B-ORG I-ORG E-ORG",
        "B-PER I-PER O B-LOC B-LOC",
        "I-PER I-LOC I-LOC B-LOC I-LOC",
        "S-A B-A E-A B-A I-A E-A S-B O",
    ],
)
def test_entities_are_those_of_seqeval(tags):
    assert get_entities(converted(tags)[0].split()) == get_entities(tags.split())


def test_sentences_decide_together():
    assert converted("I-PER O", "O I-PER B-PER", "O") == ["B-PER O", "O B-PER B-PER", "O"]
    refuses(
        "t.txt, line 1: 'I-PER' begins an entity, as only in IOB1; t.txt, line 11: 'B-PER' begins one", "O I-PER", "O B-PER"
    )


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("o", "Write O"),
        ("0", "Write O"),
        ("b-PER", "Write B-PER"),
        ("B_PER", "Write B-PER"),
        ("I:PER", "Write I-PER"),
        ("PER-I", "Write I-PER"),
        ("B-", "Write B-TYPE"),
        ("I", "Write O, or B-… or I-… with a type"),
        ("NOUN", "Write O, or B-… or I-… with a type"),
        ("BPER", "Write B-PER"),
        ("B-PER|B-LOC", "expected one tag for each word. Nested entities are not supported: keep one tag"),
        ("B-PER#I-LOC", "expected one tag for each word"),
        ("B-PER/O", "expected one tag for each word"),
        ("B-per", "but its type was 'PER' before. Write both alike"),
    ],
)
def test_one_stray_tag_is_named(tag, meant):
    with pytest.raises(ValueError, match=re.escape(f"t.txt, line 12: the tag is {tag!r}")) as error:
        converted("B-PER I-PER O", f"O B-PER {tag}")
    assert meant in str(error.value)


def test_a_source_of_near_misses_is_no_source_of_parts_of_speech():
    for tags, meant in (("B_PER I_PER O", "B-PER"), ("b-PER o", "B-PER"), ("PER-B PER-I O", "B-PER"), ("o B-PER", "O")):
        refuses(
            f"t.txt, line 0: the tag is {tags.split()[0]!r}: expected a tag of the same scheme as the others. Write {meant}.",
            tags,
        )
        first, *others = tags.split()
        # The advice, followed to the end.
        fixed = [re.sub("^o$", "O", re.sub("(?i)^([bi])_|^(per)-([bi])$", r"\1\3-\2", tag)) for tag in (first, *others)]
        fixed = [tag.upper() + ("PER" if tag.endswith("-") else "") for tag in fixed]
        assert is_iob2(converted(" ".join(fixed))[0].split())


def test_types_in_angle_brackets_are_named():
    words = "the tag is '<ORG>': expected a tag of the same scheme as the others. Write B-ORG for the first word of the entity"
    refuses(f"t.txt, line 1: {words}", "O <ORG> <ORG> O <PER>")
    assert converted("O B-ORG I-ORG O B-PER") == ["O B-ORG I-ORG O B-PER"]
    assert converted("<s> NOUN </s>") == ["<s> NOUN </s>"]


def test_tags_without_a_sign_between():
    """Two letters of a scheme before one type; one letter alone may begin a name."""
    refuses(
        "t.txt, line 0: the tag is 'BPER': expected a tag of the same scheme as the others. Write B-PER.", "BPER IPER O BLOC"
    )
    refuses(
        "t.txt, line 0: the tag is 'SLOC': expected a tag of the same scheme as the others. Write S-LOC.", "SLOC O BLOC ELOC"
    )
    for tags in ("BOOK O BIRD", "IN O BE", "BPER IPER X O", "BN IN O", "B-a-type I-a-type O", "B-R&D I-R&D O"):
        assert converted(tags) == [tags]


def test_what_goes_on_with_no_entity_is_named():
    refuses("t.txt, line 1: 'E-PER' continues an entity, but no entity of its type has begun", "O E-PER S-PER")
    refuses("t.txt, line 2: 'I-PER' continues an entity", "B-PER E-PER I-PER")
    refuses("t.txt, line 1: 'I-LOC' continues an entity", "S-LOC I-LOC")
    refuses("t.txt, line 1: 'I-LOC' continues an entity", "B-PER I-LOC E-LOC")
    refuses("t.txt, line 1: '(LOC)' does not fit the brackets", "(PER* (LOC) *)")
    refuses("t.txt, line 1: '*)' does not fit the brackets", "* *)")
    refuses("t.txt, line 1: the entity 'PER' is not closed at the end of its sentence", "(PER* *")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("O B-PER I-PER E-PER S-PER", "O B-PER I-PER"),
        ("S-LOC U-PER O L-PER B-PER M-PER", "B-LOC B-PER O I-PER"),
        ("O B I", "O B-ENTITY I-ENTITY"),
        ("O I-PER B-PER I-LOC", "O I-PER B-PER I-LOC"),
        ("NOUN VERB", "NOUN VERB"),
        ("S-N S-V O", "S-N S-V O"),
    ],
)
def test_names_of_all_labels(given, names):
    assert iob2_labels(given.split()) == tuple(names.split())


def test_labels_of_entities():
    for labels in (["B-X"], ["O", "I-X"], ["O", "B-a-b", "I-a-b"]):
        assert is_iob2(labels)
    for labels in ([], ["O"], ["O", "NOUN"], ["O", "B-"], ["B-X", "E-X"]):
        assert not is_iob2(labels)
