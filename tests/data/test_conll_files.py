"""Files of labelled words: schemes of tags, multiword tokens, and that every wrong line is named."""

import gzip
import re

import pytest

from tfllm.data.labelled.conll_files import Sentence, as_iob2, read_sentences


def write(tmp_path, content, name="train.txt"):
    (tmp_path / name).write_text(content)
    return tmp_path / name


def words_and_labels(path, **columns):
    return [(" ".join(found.words), " ".join(found.labels)) for found in read_sentences(path, **columns)]


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
        ("t.txt", "EU NNP O\nrejects O\n", None, "line 2: 2 columns: expected 3, as in the lines before"),
        ("t.txt", "EU\n", None, "line 1: 1 column: expected a word and at least one label"),
        ("t.txt", "EU O\n", 2, "column=2 is invalid: expected 0 to 1, or -1 to -2 from the end, but not the word's column 0"),
        (
            "t.txt",
            "EU O\n",
            0,
            "line 1: column=0 is invalid: expected 0 to 1, or -1 to -2 from the end, but not the word's column 0",
        ),
        ("t.txt", "EU O\n", "UPOS", "columns of CoNLL files have no names"),
        ("t.txt", "-DOCSTART- O\n\n", None, "holds no sentence"),
        ("t.txt", "EU\tNNP\tO\nrejects\t\n", None, "line 2: 1 columns split by tabs: expected 3"),
        ("t.txt", "EU\tNNP\tO\nrejects\t\tO\n", 1, "line 2: no word, or no label in column 1"),
        ("t.txt", "New York\tB-LOC\nis fine O\n", None, "line 2: 1 columns split by tabs: expected 2"),
        ("t.txt", "EU\tNNP O\n", None, "line 1: no word, or no label in column -1: ['EU', 'NNP O']"),
        ("t.txt", "EU - O -\nrejects - O -\n", None, "line 1: no word, or no label in column -1"),
        ("t.txt", "EU O\rrejects O\r", None, "line 1: a carriage return (CR) without a line feed (LF)"),
        ("t.csv", "word,label\nEU,O\n", None, ".csv. Write CoNLL"),
        ("t.tsv.gz", "word\tlabel\nEU\tO\n", None, ".tsv. Write CoNLL"),
        ("t.conllu", CONLLU, "NER", "column='NER' is invalid: expected one of FORM, LEMMA"),
        ("t.conllu", CONLLU, "XPOS", "line 3: no word, or no label in column 4"),
        ("t.conllu", CONLLU.replace("\t", " "), None, "line 3: 1 columns split by tabs: expected the 10 of CoNLL-U"),
        ("t.conllu", CONLLU.replace("4\t(", "5\t("), None, "line 8: the ID is '5': expected '4'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, name, content, column, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_sentences(write(tmp_path, content, name), column=column)


def test_lines_that_hold_no_words(tmp_path):
    """MultiCoNER, CoNLL-U's comments, GermEval and WNUT: what each has before a sentence, and a hash that is a word."""
    for lines in (
        "# id 0f1e domain=en\nEU _ _ B-ORG\n\n# id 77aa\tdomain=en\n# _ _ O\n1 _ _ O\n",
        "# newdoc\n# sent_id = 1\n# text = EU\nEU B-ORG\n\n# text = # 1\n# O\n1 O\n",
        "#\thttp://example.org/EU [2009-10-17]\nEU\tx\tB-ORG\n\n# of the corpus, part two\n#\tx\tO\n1\tx\tO\n",
        "# made by hand\n\n--DOCSTART--\nEU B-ORG\n-DOCSTART- O\n# O\n1 O\n",
        "-DOCSTART- (1 EU)\r\n\r\nEU\tB-ORG \r\n \r\n#\tO\t\r\n1\tO\r\n",
    ):
        assert words_and_labels(write(tmp_path, lines)) == [("EU", "B-ORG"), ("# 1", "O O")]
    assert words_and_labels(write(tmp_path, "so O\n# O\n#tfllm O\n")) == [("so # #tfllm", "O O O")]


def test_what_may_be_a_comment_or_a_word_is_named(tmp_path):
    path = write(tmp_path, "EU B-ORG\n\n# EU\nso O\n")
    with pytest.raises(ValueError, match=re.escape("line 3: '# EU' is a comment, or the word '#' with the label 'EU'")):
        read_sentences(path)
    # Both of the ways that the message names.
    assert words_and_labels(write(tmp_path, "EU B-ORG\n\n# key = EU\nso O\n"))[1] == ("so", "O")
    assert words_and_labels(write(tmp_path, "EU B-ORG\n\n# O\nso O\n"))[1] == ("# so", "O O")
    with pytest.raises(ValueError, match=re.escape("line 2: the comment '# sent_id = 2' is inside a sentence. Put an empty")):
        read_sentences(write(tmp_path, "EU B-ORG\n# sent_id = 2\nso O\n"))
    assert len(read_sentences(write(tmp_path, "EU B-ORG\n\n# sent_id = 2\nso O\n"))) == 2


COUNTED = "# sent_id = a\n1\tEU\tB-ORG\t-\tann\n2\twon\tO\t-\tann\n\n1\t7\tO\t-\tann\n"


def test_a_column_that_counts_is_no_word(tmp_path):
    """Universal NER's files, CoNLL-2009, CoNLL-U by another name: the column of the words is named."""
    path = write(tmp_path, COUNTED, "en.iob2")
    with pytest.raises(ValueError, match=re.escape("en.iob2, line 2: the first column counts the words: '1 EU B-ORG")) as error:
        read_sentences(path)
    assert "word_column=1, column=2" in str(error.value)
    assert words_and_labels(path, word_column=1, column=2) == [("EU won", "B-ORG O"), ("7", "O")]
    assert words_and_labels(path, word_column=-4, column=-3) == [("EU won", "B-ORG O"), ("7", "O")]
    conll_2009 = "1\tEU\teu\tN\n2\twon\twin\tV\tA0\n"
    with pytest.raises(ValueError, match="line 2: 5 columns split by tabs: expected 4"):
        read_sentences(write(tmp_path, conll_2009), word_column=1, column=3)
    apart = conll_2009.replace("\n2", "\n\n2")
    assert words_and_labels(write(tmp_path, apart), word_column=1, column=3) == [("EU", "N"), ("won", "V")]
    with pytest.raises(ValueError, match=r"counts the words: .* A CoNLL-U file is named .conllu"):
        read_sentences(write(tmp_path, CONLLU))
    assert words_and_labels(write(tmp_path, "1 O\n2 O\n")) == [("1 2", "O O")]  # there is no other column


@pytest.mark.parametrize(
    ("content", "message", "columns"),
    [
        ("1.0 EU B-ORG\n2.0 won O\n", "line 1: the first column counts the words: '1.0 EU B-ORG'", dict(word_column=1)),
        ("0:1 EU B-ORG\n0:2 won O\n", "line 1: the first column counts", dict(word_column=1)),
        ("w1 EU B-ORG\nw2 won O\n", "line 1: the first column counts", dict(word_column=1)),
        ("s1 EU B-ORG\ns1 won O\n", "line 1: the first column counts", dict(word_column=1)),
        ("doc1.2-3 EU B-ORG x\ndoc1.2-4 won O x\n", "word_column=1, column=2", dict(word_column=1, column=2)),
        ("B-ORG\tEU\nO\twon\n", "line 1: the first column holds tags: 'B-ORG'", dict(word_column=1, column=0)),
        ("B EU\nO won\n", "word_column=1, column=0", dict(word_column=1, column=0)),
        (
            "EU B-ORG 0.99\nwon O 0.98\n",
            "the last column holds no tags ('0.99'), but column 1 does ('B-ORG'). Give",
            dict(column=1),
        ),
        ("EU NNP B-ORG x\nwon VBD O y\n", "column 2 does ('B-ORG'). Give the column of the label: column=2", dict(column=2)),
        ("EU NNP B-ORG E1\nwon VBD O O\n", "column 2 does", dict(column=2)),
        ("EU B-ORG http://a\nwon O -\n", "column 1 does", dict(column=1)),
        ("EU NNP .99\nwon VBD 1.5e-05\n", "line 1: the last column holds numbers ('.99'), not labels", dict(column=1)),
        ("EU|B-ORG won|O\n", "line 1: each cell holds two values joined by '|': 'EU|B-ORG'", None),
        ("EU/NNP won/VBD\n\nso/RB it/PRP is/VBZ\n", "two values joined by '/'", None),
        ("EU_NNP won_VBD ._.\n", "two values joined by '_'", None),
        ("Token\tTag\nEU\tB-ORG\nwon\tO\n", "line 1: 'Token' and 'Tag' seem to be names of columns. Remove the line", None),
        (
            "".join(f"X{n % 3} word{n}\n" for n in range(20)),
            "20 different labels, but the column of the words only 3 different words",
            None,
        ),
    ],
)
def test_columns_that_hold_something_else_are_named(tmp_path, content, message, columns):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_sentences(path)
    if columns:
        sentences = words_and_labels(path, **columns)
        assert sentences[0][0] == "EU won" and sentences[0][1].split()[0] in ("B-ORG", "B-ENTITY", "NNP")


def test_columns_that_are_as_they_should_be(tmp_path):
    for content in (
        "EU B-NP O\nwon O O\n",  # no entities
        "won B-VP I-ORG\n",
        "12 O\n13 O\n",
        "CD4 NN O\ncells NNS O\nCD8 NN O\nE-mail NN O\n",
        "and/or CC\nwon_lost VBD\n",
        "EU * (ORG)\nwon * *\n",
        "EU 1\nwon 0\n",
        "text NOUN\nis VERB\n",
    ):
        assert len(read_sentences(write(tmp_path, content))) == 1
    assert words_and_labels(write(tmp_path, "EU B-NP 0.9\n"), column=-1) == [("EU", "0.9")]
    assert words_and_labels(write(tmp_path, "Token Tag\n"), column=-1, word_column=0) == [("Token", "Tag")]


def test_conll_2012(tmp_path):
    """By the column table of https://cemantix.org/conll/2012/data.html; sentences have a column for each predicate."""
    path = write(
        tmp_path,
        "#begin document (bc/cctv/00/cctv_0000); part 000\n"
        "bc/cctv/00/cctv_0000 0 0 Hong NNP (TOP(NP* - - - S1 (GPE* (0\n"
        "bc/cctv/00/cctv_0000 0 1 Kong NNP *) - - - S1 *) 0)\n"
        "bc/cctv/00/cctv_0000 0 2 won VBD * win 01 1 S1 * -\n"
        "\n"
        "bc/cctv/00/cctv_0000 0 0 Ada NNP * - - - S1 (PERSON) (ARG0*) -\n"
        "\n"
        "#end document\n",
    )
    assert words_and_labels(path) == [("Hong Kong won", "B-GPE I-GPE O"), ("Ada", "B-PERSON")]
    assert words_and_labels(path, column=4) == [("Hong Kong won", "NNP NNP VBD"), ("Ada", "NNP")]


def test_words_with_spaces_between_tabs(tmp_path):
    path = write(tmp_path, "New York\tNNP\tB-LOC  \nwon \t VBD\tO\n")
    assert [(found.words, found.labels) for found in read_sentences(path)] == [(("New York", "won"), ("B-LOC", "O"))]


def test_near_misses_of_a_scheme_are_named_with_their_line(tmp_path):
    path = write(tmp_path, "# sent_id = 1\nEU B-ORG\nwon o\n")
    with pytest.raises(ValueError, match=re.escape("train.txt, line 3: the tag is 'o': expected a tag of the same scheme")):
        read_sentences(path)
    sentences = [Sentence(("EU", "won"), ("I-ORG", "O"), (True, True), "f, line 1")]
    assert as_iob2(sentences)[0].labels == ("B-ORG", "O")


def test_another_column_of_words_in_conllu(tmp_path):
    path = write(tmp_path, CONLLU, "t.conllu")
    assert read_sentences(path, word_column="LEMMA")[0].words[0] == "ir"
    with pytest.raises(ValueError, match="word_column='WORD' is invalid: expected one of FORM, LEMMA"):
        read_sentences(path, word_column="WORD")
