"""Files of labelled words: schemes of tags, multiword tokens, and that every wrong line is named."""

import gzip
import re

import pytest

from tfllm.data.labelled.reading_words import Sentence, as_iob2, is_bio, read_sentences


def write(tmp_path, content, name="train.txt"):
    (tmp_path / name).write_text(content)
    return tmp_path / name


def tagged(*sentences):
    return [Sentence(tuple("w" * len(tags.split())), tuple(tags.split()), (True,), "f, line 1") for tags in sentences]


def test_conll_as_in_the_docstring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n")
    expected = Sentence(("EU", "rejects"), ("B-ORG", "O"), (True, True), "train.txt, line 3")
    assert read_sentences(path.name) == [expected]
    assert expected.text == "EU rejects"
    (tmp_path / "train.txt.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read_sentences("train.txt.gz")[0].words == expected.words
    assert read_sentences(path.name, column=1)[0].labels == ("NNP", "VBZ")


def test_conll_keeps_words_with_other_spaces_and_sentences_at_the_end(tmp_path):
    path = write(tmp_path, "10\u00a0000\tO\r\n \t\r\n\r\nlast\tB-X")
    assert [sentence.words for sentence in read_sentences(path)] == [("10\u00a0000",), ("last",)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("I-PER I-PER O I-LOC B-LOC", "B-PER I-PER O B-LOC B-LOC"),
        ("B-PER I-PER O B-LOC B-LOC", "B-PER I-PER O B-LOC B-LOC"),
        ("I-PER I-LOC I-LOC B-LOC I-LOC", "B-PER B-LOC I-LOC B-LOC I-LOC"),
        ("NOUN I VERB", "NOUN I VERB"),
        ("O O", "O O"),
    ],
)
def test_schemes_as_in_the_docstring(before, after):
    assert [" ".join(sentence.labels) for sentence in as_iob2(tagged(before))] == [after]


def test_all_sentences_decide_together():
    found = as_iob2(tagged("I-PER O", "O I-PER B-PER"))
    assert [" ".join(sentence.labels) for sentence in found] == ["B-PER O", "O B-PER B-PER"]
    with pytest.raises(
        ValueError, match=re.escape("f, line 1: 'I-PER' of word 2 ('w') opens an entity, as in IOB1 only; f, line 1: 'B")
    ):
        as_iob2(tagged("O I-PER", "O B-PER"))
    with pytest.raises(ValueError, match="'E-PER' is neither IOB1 nor IOB2"):
        as_iob2(tagged("B-PER E-PER O"))


def test_labels_of_entities():
    for labels in (["B-X"], ["O", "I-X"], ["O", "B-a-b", "I-a-b"]):
        assert is_bio(labels)
    for labels in ([], ["O"], ["O", "NOUN"], ["O", "B-"], ["B-X", "E-X"]):
        assert not is_bio(labels)


CONLLU = """# sent_id = 1
# text = Vou ao (cinema).
1\tVou\tir\tVERB\t_\t_\t0\troot\t_\t_
2-3\tao\t_\t_\t_\t_\t_\t_\t_\t_
2\ta\ta\tADP\t_\t_\t_\t_\t_\t_
3\to\to\tDET\t_\t_\t_\t_\t_\t_
3.1\tvazio\t_\tX\t_\t_\t_\t_\t_\t_
4\t(\t(\tPUNCT\t_\t_\t_\t_\t_\tSpaceAfter=No
5\tcinema\tcinema\tNOUN\t_\t_\t_\t_\t_\tA=b|SpaceAfter=No
6-7\t).\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
6\t)\t)\tPUNCT\t_\t_\t_\t_\t_\t_
7\t.\t.\tPUNCT\t_\t_\t_\t_\t_\t_

"""


def test_conllu(tmp_path):
    path = write(tmp_path, CONLLU + CONLLU.replace("Vou", "Vais"), "t.conllu")
    first, second = read_sentences(path)
    assert first.words == ("Vou", "a", "o", "(", "cinema", ")", ".")
    assert first.labels == ("VERB", "ADP", "DET", "PUNCT", "NOUN", "PUNCT", "PUNCT")
    assert first.spaced == (True, True, True, False, False, True, False)
    assert first.text == "Vou a o (cinema) ."
    assert second.place == f"{path}, line 16"
    assert read_sentences(path, column="LEMMA")[0].labels[0] == "ir"


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("t.txt", "EU NNP O\nrejects O\n", None, "line 2: 2 columns; accepted: 3, as in the lines before"),
        ("t.txt", "EU\n", None, "line 1: 1 columns; accepted: a word and at least one label"),
        ("t.txt", "EU O\n", 2, "no label in column 2; accepted: 1 to 1"),
        ("t.txt", "EU O\n", 0, "no label in column 0"),
        ("t.txt", "EU O\n", "UPOS", "columns of CoNLL files have no names"),
        ("t.txt", "-DOCSTART- O\n\n", None, "holds no sentence"),
        ("t.conllu", CONLLU, "NER", "no column 'NER'; accepted: FORM, LEMMA"),
        ("t.conllu", CONLLU, "XPOS", "line 3: no word, or no label in column 4"),
        ("t.conllu", CONLLU.replace("\t", " "), None, "line 3: 1 columns split by tabs; accepted: 10"),
        ("t.conllu", CONLLU.replace("4\t(", "5\t("), None, "line 8: the ID is '5'; accepted here: '4'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, name, content, column, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_sentences(write(tmp_path, content, name), column=column)
