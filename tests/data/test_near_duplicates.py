"""Near duplicates: the docstrings' rows, what is caught at which similarity, and a store that depends on no order."""

import hashlib
import json
import random

import numpy as np
import pytest

from tfllm.data import StoreError, prepare
from tfllm.data.preparation import local, near_duplicate_graph
from tfllm.data.preparation.near_duplicates import (
    MinHashSettings,
    find_links,
    is_listed,
    join_links,
    minhash_signatures,
    shingle_words,
)
from tfllm.tokenizers import ByteTokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Validation has")  # small corpora

NEAR = MinHashSettings(0.8)


def names(*texts):
    return np.array([text.encode() for text in texts], "S32")


def quiet(paths, out, *, near_duplicates=0.8, processes=1, **settings):
    return prepare(
        paths, ByteTokenizer(), out, near_duplicates=near_duplicates, processes=processes, progress=False, **settings
    )


def kept(store):
    return {text for split in ("train", "validation") if store.manifest["splits"][split]["documents"]
            for text in store.texts(split, ByteTokenizer())}  # fmt: skip


def sha(text):
    return hashlib.sha256(text.encode()).digest()


def shingles(text):
    words = shingle_words(text)
    return {tuple(words[place : place + 5]) for place in range(len(words) - 4)}


def pair(rng, similarity, words=400):
    """Two texts of about that Jaccard similarity, and what it is exactly: the second goes on otherwise than the first."""
    same = round(words * 2 * similarity / (1 + similarity))
    first, second = ([f"{rng.getrandbits(48):x}" for _ in range(words)] for _ in range(2))
    texts = " ".join(first), " ".join(first[:same] + second[same:])
    sets = [shingles(text) for text in texts]
    return texts, len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def agreement(texts):
    rows = minhash_signatures(texts, NEAR).bytes
    return (rows[0] == rows[1]).mean()


def test_rows_as_in_the_docstrings():
    assert shingle_words("Don't panic: 你好!") == ["don", "t", "panic", "你", "好"]
    signed = minhash_signatures(["One, two, three four five six", "one two three FOUR five six!"], NEAR)
    assert (signed.bytes[0] == signed.bytes[1]).all()
    assert (signed.keys[:, 0] == signed.keys[:, 1]).all()
    assert join_links(np.array([names("c", "b"), names("b", "d"), names("e", "e")])).tolist() == [[b"b", b"c"], [b"b", b"d"]]
    assert is_listed(names("a", "c", "e"), names("b", "c")).tolist() == [False, True, False]
    assert is_listed(names("a"), names()).tolist() == [False]
    rows = np.zeros((5, NEAR.hashes), np.uint8)
    rows[1, :20], rows[2, :40], rows[4] = 1, 1, 1  # a-b and b-c differ in 20 of 128, a-c in 40; at most 25 is near
    links = find_links(np.array([7, 7, 7, 9, 9], np.uint64), names(*"abcde"), rows, NEAR)
    assert {tuple(pair.tolist()) for pair in links if pair[0] != pair[1]} == {(b"a", b"b"), (b"b", b"c")}

    rows = np.array([[place < 20 * step for place in range(128)] for step in range(5)], np.uint8)  # each near the next only
    links = find_links(np.zeros(5, np.uint64), names(*"abcde"), rows, NEAR)
    assert len(join_links(links)) == 4


def test_a_signature_is_the_same_everywhere():
    """Of another release, machine or seed it would be another store."""
    signed = minhash_signatures(["the quick brown fox jumps over the lazy dog"], NEAR)
    assert hashlib.sha256(signed.bytes.tobytes()).hexdigest()[:16] == "86770fc9033b551c"
    assert hashlib.sha256(signed.keys.astype("<u8").tobytes()).hexdigest()[:16] == "84781654e8dd6157"


@pytest.mark.parametrize(
    ("threshold", "rows", "bands", "least"), [(0.5, 3, 42, 64), (0.8, 6, 21, 103), (0.9, 10, 12, 116), (1.0, 128, 1, 128)]
)
def test_bands_follow_from_the_threshold(threshold, rows, bands, least):
    minhash = MinHashSettings(threshold)
    assert (minhash.rows, minhash.bands, minhash.least) == (rows, bands, least)
    assert minhash.caught(threshold, rows) >= 0.99


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.8, 0.9])
def test_signatures_estimate_the_similarity(similarity):
    """Without bias, and with a binomial's spread: the standard deviation of one estimate is sqrt(J (1 - J) / 128)."""
    rng = random.Random(3)
    errors = []
    for _ in range(300):
        texts, exact = pair(rng, similarity)
        errors.append(agreement(texts) - exact)
    spread = (similarity * (1 - similarity) / NEAR.hashes) ** 0.5
    # The permutations are the same for all pairs, so the mean's error is a little more than spread / sqrt(300).
    assert abs(np.mean(errors)) < 0.3 * spread + 0.003
    assert 0.75 * spread < np.std(errors) < 1.25 * spread


@pytest.mark.parametrize(
    ("similarity", "least", "most"), [(0.6, 0, 0), (0.7, 0, 3), (0.8, 20, 80), (0.9, 99, 100), (0.95, 100, 100)]
)
def test_how_many_of_a_hundred_pairs_go(tmp_path, similarity, least, most):
    """At the threshold half of the pairs (the estimate is as often below), at 0.7 hardly any, at 0.9 nearly all."""
    rng = random.Random(7)
    texts = [text for _ in range(100) for text in pair(rng, similarity)[0]]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    store = quiet(tmp_path / "a.jsonl", tmp_path / "out")
    assert least <= store.manifest["near_duplicates_removed"] <= most
    assert len(kept(store)) == 200 - store.manifest["near_duplicates_removed"]


def test_of_a_component_the_lowest_hash_stays(tmp_path):
    rng = random.Random(1)
    words = [f"{rng.getrandbits(48):x}" for _ in range(500)]
    chain = [" ".join(words[25 * place : 25 * place + 400]) for place in range(5)]  # each near the next only
    assert agreement(chain[:2]) >= 0.8 > agreement([chain[0], chain[2]])
    other = " ".join(reversed(words))
    (tmp_path / "a.txt").write_text("--".join([*chain, other, chain[3]]))
    store = quiet(tmp_path / "a.txt", tmp_path / "out", separator="--")
    assert kept(store) == {other, min(chain, key=sha)}
    manifest = store.manifest
    gone = 5 if min(chain, key=sha) != chain[3] else 4
    assert (manifest["near_duplicates_removed"], manifest["duplicates_removed"]) == (gone, 5 - gone)
    assert manifest["near_duplicates"] == {"threshold": 0.8, "words": 5, "hashes": 128, "rows": 6, "bands": 21}
    assert manifest["settings"]["near_duplicates"] == 0.8


def test_any_language_short_texts_and_no_words(tmp_path):
    chinese = (
        "我们今天在这里讨论一个关于自然语言处理的问题它是一个非常有意思的问题"
        "希望大家都能够积极参与讨论并且提出自己的看法谢谢各位"
    )
    texts = [chinese, chinese + "!", chinese[:-1], chinese[::-1], "Yes.", "yes", "Yes, no", "...", "!!!", "मैं", "मै"]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    found = kept(quiet(tmp_path / "a.txt", tmp_path / "out", separator="\n"))
    near = [texts[:3], texts[4:6]]
    assert found == {min(group, key=sha) for group in near} | set(texts[3:4] + texts[6:])


def test_a_near_duplicate_does_not_reach_validation(tmp_path):
    rng = random.Random(2)
    texts = [text for _ in range(60) for text in pair(rng, 0.95)[0]]
    (tmp_path / "a.txt").write_text("\n".join(texts))

    def leaks(store):
        train, held_out = (list(store.texts(split, ByteTokenizer())) for split in ("train", "validation"))
        return sum(agreement([one, other]) >= 0.8 for one in held_out for other in train if one[:9] == other[:9])

    settings = dict(separator="\n", validation=0.3)
    assert leaks(quiet(tmp_path / "a.txt", tmp_path / "with", near_duplicates=None, **settings)) > 10
    assert leaks(quiet(tmp_path / "a.txt", tmp_path / "without", **settings)) == 0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """1,400 documents: families of 1 to 40 near and not so near, some of them exact duplicates."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(5)
    texts = []
    while len(texts) < 1400:
        words = [f"{rng.getrandbits(20):x}" for _ in range(rng.randint(3, 120))]
        for _ in range(rng.choice([1, 1, 2, 3, 40])):
            changed = [word if rng.random() > 0.01 else "other" for word in words]
            texts.append(" ".join(changed[: rng.randint(len(words) * 8 // 10, len(words))]))
    (folder / "a.txt").write_text("\n".join(texts[:1000]))
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[900:]))
    return folder, texts


def test_the_same_as_comparing_all_with_all(corpus, tmp_path):
    folder, texts = corpus
    texts = sorted(set(texts), key=sha)
    signed = minhash_signatures(texts, NEAR)
    linked = np.zeros((len(texts), len(texts)), bool)
    for number, row in enumerate(signed.bytes):
        banded = (signed.keys == signed.keys[:, number, None]).any(axis=0)
        linked[number] = banded & ((signed.bytes == row).sum(axis=1) >= 0.8 * 128)
    stays, left = set(), set(range(len(texts)))
    for lowest in range(len(texts)):
        if lowest in left:
            stays.add(texts[lowest])
            reached = {lowest}
            while reached:
                left -= reached
                reached = {int(other) for one in reached for other in np.flatnonzero(linked[one])} & left
    assert 300 < len(stays) < len(texts) - 300
    store = quiet(folder, tmp_path / "out", separator="\n")
    assert kept(store) == stays


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def small(monkeypatch):
    """As with a corpus of terabytes: many pieces, several parts a band, links joined again and again, workers."""
    monkeypatch.setattr(local, "LEAST_CHUNK", 40_000)
    monkeypatch.setattr(near_duplicate_graph, "PART_DOCUMENTS", 300)
    monkeypatch.setattr(near_duplicate_graph, "FEW_DOCUMENTS", 0)
    monkeypatch.setattr(near_duplicate_graph, "LEAST_JOIN", 10)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_same_bytes_however_it_is_cut(corpus, tmp_path, monkeypatch, processes):
    reference = quiet(corpus[0], tmp_path / "one", separator="\n", validation=0.1)
    small(monkeypatch)
    assert tree(quiet(corpus[0], tmp_path / "out", separator="\n", validation=0.1, processes=processes).folder) == tree(
        reference.folder
    )


def test_interrupted_it_goes_on(corpus, tmp_path, monkeypatch):
    reference = quiet(corpus[0], tmp_path / "one", separator="\n")
    small(monkeypatch)
    real, done = near_duplicate_graph.write_links, []

    def interrupted(job, work):
        if len(done) % 40 == 39:
            done.append(None)
            raise KeyboardInterrupt
        done.append(job)
        return real(job, work)

    monkeypatch.setattr(near_duplicate_graph, "write_links", interrupted)
    interruptions = 0
    while not (tmp_path / "out").exists():
        try:
            store = quiet(corpus[0], tmp_path / "out", separator="\n")
        except KeyboardInterrupt:
            interruptions += 1
    jobs = [job for job in done if job]
    assert interruptions >= 2
    assert len(jobs) == len(set(jobs)) == 21 * jobs[0].of > 60
    assert tree(store.folder) == tree(reference.folder)


def test_it_is_a_setting_of_the_store(tmp_path):
    (tmp_path / "a.txt").write_text("one\nOne\ntwo")
    plain = quiet(tmp_path / "a.txt", tmp_path / "out", separator="\n", near_duplicates=None)
    assert "near_duplicates" not in plain.manifest["settings"]  # as before there was the choice
    with pytest.raises(StoreError, match=r"near_duplicates was None, now 0\.8"):
        quiet(tmp_path / "a.txt", tmp_path / "out", separator="\n")
    for refused in (0.4, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"near_duplicates=.* is invalid: expected None, or a similarity from 0\.5 to 1"):
            quiet(tmp_path / "a.txt", tmp_path / "other", near_duplicates=refused)
