"""The advice of every message about stores and their batches, followed as a user would."""

# ruff: noqa: B023 - each function is called in its own turn of the loop

import builtins
import configparser
import json
import re
import shutil
import warnings
from functools import partial
from pathlib import Path

import byte_like
import memory_files
import pytest
import tensorflow as tf
from advice import follow
from masked_batches import FRAMED, make

from tfllm.corpus.remote_files import find_remote
from tfllm.data import Store, prepare
from tfllm.data.batching import causal, masked, rows, sentence_pairs, shuffle_order
from tfllm.data.batching.batches import Batches
from tfllm.data.batching.masking import Vocabulary
from tfllm.data.preparation import beam
from tfllm.data.preparation.work_dir import check_out, open_work_dir
from tfllm.data.preparation.worker_pool import run
from tfllm.data.store import get_store
from tfllm.tokenizers import ByteTokenizer

BYTES = ByteTokenizer()


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """One document, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("one\ntwo")
    return Path("a.txt")


def made(paths="a.txt", out="out", *, tokenizer=BYTES, **settings):
    settings = dict(validation=0, processes=1, progress=False) | settings
    return prepare(paths, tokenizer, out, **settings)


def test_settings(texts):
    for words, wrong, rights in (
        ("a fraction from 0 up to, not including, 1", dict(validation=1), [dict(validation=0)]),
        ("None, or an int from 1 to 99999", dict(shards=0), [dict(shards=None), dict(shards=1)]),
        ("None, or a similarity from 0.5 to 1", dict(near_duplicates=2), [dict(near_duplicates=1)]),
        (" is invalid: expected None (all cores), or 1 or more.", dict(processes=0), [dict(processes=1)]),
        (" is invalid: expected a fraction that leaves documents for training", dict(validation=0.9999), [dict(validation=0)]),
    ):
        for number, right in enumerate(rights):
            follow(
                words, lambda: made(**wrong), lambda: made(out=f"{next(iter(right))}{number}", **right).split().documents == 1
            )
    split = dict(separator="\n", validation=0.5)
    with pytest.warns(UserWarning, match="too few for reliable metrics"):
        assert made(out="split", **split).split("validation").documents == 1
    for mended in (dict(validation=0.5, texts=[str(n) for n in range(99)], paths=()), dict(validation=0)):
        out = f"many{len(mended)}"
        words = "Give a larger validation=… (" if len(mended) > 1 else "; validation=0 holds out none."
        shutil.rmtree("few", ignore_errors=True)
        follow(words, lambda: made(out="few", validation=0.005), lambda: made(out=out, **mended).split().documents)


def test_what_is_prepared(texts):
    follow("prepare needs a tokenizer and a folder: prepare(paths, tokenizer, out)", lambda: prepare("a.txt"), made)
    memory = partial(made, (), "memory")
    follow("Both paths and texts were given. Give one of them.", lambda: made(texts=["one"]), lambda: memory(texts=["one"]))
    follow(", or give texts=[…].", lambda: made(()), lambda: memory(texts=["one"]))
    follow(
        " with texts, because it is for files. Remove it.",
        lambda: memory(texts=["one"], field="a"),
        lambda: memory(texts=["one"]),
    )
    follow(
        ": expected an iterable of strings, got one string. Give [text].",
        lambda: memory(texts="one"),
        lambda: memory(texts=["one"]),
    )
    follow(
        " is invalid: expected a string. Give strings only.", lambda: memory(texts=["one", 2]), lambda: memory(texts=["one"])
    )


def test_places(texts, monkeypatch):
    for words, wrong, right in (
        (" is invalid: expected a folder on a local disk. Give one, or call prepare_with_beam.", "gs://b/out", "here"),
        (" is a file; `out` is the folder a store is made in. Give another `out`.", "a.txt", "other"),
        (", which a store cannot replace. Give a folder in it as `out`.", "empty", "empty/store"),
    ):
        Path("empty").mkdir(exist_ok=True)
        monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "empty")
        follow(words, lambda: made(out=wrong), lambda: made(out=right).split().documents == 1)
    follow(
        " is not a token store. Make one with tfllm.data.prepare, in another folder."[3:],
        lambda: made(out="."),
        lambda: made(out="new"),
    )
    other = "Give another `out`, or delete it first."
    follow(other, lambda: made(out="here", separator="\n"), lambda: made(out="lines", separator="\n").split().documents == 2)
    follow(other, lambda: made(out="here", separator="\n"), lambda: shutil.rmtree("here") or made(out="here", separator="\n"))
    with open_work_dir(check_out("busy"), "mine"):
        follow("Wait for it, or give another `out`.", lambda: made(out="busy"), lambda: made(out="free"))
    assert made(out="busy").split().documents == 1
    Path(".shut.preparing").write_text("")
    follow(". Give another `out`", lambda: made(out="shut"), lambda: made(out="open"))


def test_damage(texts):
    """The remedy of most: a store deleted is made anew in its place."""

    def damaged(name, content):
        shutil.rmtree("out", ignore_errors=True)
        made()
        path = next(path for path in Path("out").iterdir() if path.name.endswith(name))
        path.write_bytes(content(path.read_bytes())) if content else path.unlink()
        return Store.open("out", verify=True)

    def anew():
        shutil.rmtree("out")
        return made().split().documents == 1 and Store.open("out", verify=True)

    remedy = "Copy the store again, or delete it and prepare it anew."
    of_manifest = lambda change: lambda data: json.dumps(json.loads(data) | change).encode()  # noqa: E731
    for words, name, content in (
        (remedy, ".tokens", None),
        (remedy, ".offsets", lambda data: data[:-1]),
        (remedy, ".tokens", lambda data: data[:-1] + b"x"),
        (remedy, "manifest.json", lambda data: data[:-9]),
        (remedy, "manifest.json", of_manifest({"dtype": "int8"})),
        (". Delete the store, and prepare it anew.", "manifest.json", of_manifest({"format": 9})),
    ):
        follow(words, lambda: damaged(name, content), anew)
    missing = lambda: Store.open("gone")  # noqa: E731
    follow(" does not exist. Make a token store with tfllm.data.prepare.", missing, lambda: made(out="gone") and missing())
    Path(".half.preparing").mkdir()
    half = lambda: Store.open("half")  # noqa: E731
    follow("Call prepare again; it goes on where it was.", half, lambda: made(out="half") and half())
    for right in ("out", Path("out"), Store.open("out")):
        follow(
            " must be a Store (tfllm.data.prepare, tfllm.data.Store.open) or the path of its folder",
            lambda: get_store(5),
            lambda: get_store(right),
        )
    follow("; there are ", lambda: Store.open("out").split("test"), lambda: Store.open("out").split("train"))


def test_another_tokenizer(texts):
    store, other = made(), byte_like.Other()
    words = "Load the tokenizer it was made with, or prepare the text again, in another folder."
    follow(words, lambda: store.check_tokenizer(other), lambda: list(store.texts("train", BYTES)) == ["one\ntwo"])
    follow(words, lambda: made(tokenizer=other), lambda: list(made(out="again", tokenizer=other).texts("train", other)))
    second = Store.open("again")
    follow(
        " were made with different tokenizers. Prepare one again with the other's, in another folder.",
        lambda: rows.Shards.open({store: 1, second: 1}, "train"),
        lambda: rows.Shards.open({store: 1, made(out="third"): 1}, "train"),
    )


def test_documents_held_out(texts):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = made(validation=0.1)
    words = "Prepare it again with a larger validation=…, or give more documents (separator=… splits a file into several)."
    twenty = dict(paths=(), texts=[str(number) for number in range(40)], validation=0.5)
    follow(words, lambda: store.split("validation"), lambda: made(out="many", **twenty).split("validation").documents >= 10)


def test_workers():
    kill = "__import__('os').kill(__import__('os').getpid(), 9)"
    fewer = " (the system may be out of memory: give fewer `processes`)"
    follow(fewer, lambda: list(run(eval, [kill], processes=2)), lambda: list(run(eval, ["1"], processes=1)) == [1])


def test_beam(texts, monkeypatch):
    follow(" is invalid: expected one of ", lambda: beam._options("Direct", []), lambda: beam._options("DirectRunner", []))
    spelling = ". Check their spelling: --direct_num_workers=2"
    follow(
        spelling,
        lambda: beam._options("DirectRunner", ["--direct_num_worker=2"]),
        lambda: beam._options("DirectRunner", ["--direct_num_workers=2"]),
    )
    load = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("apache_beam"):
            raise ImportError(name)
        return load(name, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(ImportError, match=r"pip install 'tfllm.beam.', in a clone") as error:
        patch.setattr(builtins, "__import__", without)
        beam._options("DirectRunner", [])
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    package, extra = re.search(r"'(\w+)\[(\w+)\]'", str(error.value)).groups()
    assert package == setup["metadata"]["name"] and "apache" in setup["options.extras_require"][extra]


def test_places_with_a_scheme(monkeypatch):
    files = {"memory://corpus/web/a.txt": b"one", "memory://corpus/web/b.so": b"two"}
    monkeypatch.setattr(memory_files, "FILES", files)
    monkeypatch.setattr(memory_files, "TIMES", dict.fromkeys(files, 7.0))

    def found(path):
        return [source.path.rpartition("/")[2] for source in find_remote(f"memory://corpus/{path}", ()).sources]

    nothing = " holds no file to read. Name a file, a folder, or a glob such as"
    for right in ("web/a.txt", "web", "web/*.txt", "**.txt"):
        follow(nothing, lambda: found("book"), lambda: found(right) == ["a.txt"])
    files.pop("memory://corpus/web/a.txt")
    named = ": its suffix does not say that it is text. Name it itself."
    follow(named, lambda: found("web"), lambda: found("web/b.so") == ["b.so"])


def test_stores_of_batches(tmp_path):
    store = make(tmp_path / "many", ["abcd", "efgh"])
    few = make(tmp_path / "one", ["abcd"])

    def check(store, kind):
        weights = {store: 1.0}
        sentence_pairs.check_documents(weights, sentence_pairs.Windows.of(rows.Shards.open(weights, "train"), 9), kind, "train")
        return True

    words = "Prepare it again with more documents (separator=… splits a file into several), or, for validation, with a larger "
    follow(words, lambda: check(few, "nsp"), lambda: check(store, "nsp"))

    def ring(length, counts):
        shards = rows.Shards.open({store: 1.0}, "train")
        return rows.rows_of_shards({store: 1.0}, "train", counts, shards, length)

    follow("Give a smaller sequence_length, or more text.", lambda: ring(99, [0]), lambda: ring(2, [5]))
    for right in (store, {store: 2}):
        follow(
            "No store was given. Give a Store, or {store: weight}.",
            lambda: rows.store_weights({}, repeat=True),
            lambda: store in rows.store_weights(right, repeat=True),
        )
    both = {store: 1, few: 1}
    follow(
        " with several stores, whose mixture has no end. Give one store at a time.",
        lambda: rows.store_weights(both, repeat=False),
        lambda: rows.store_weights(few, repeat=False),
    )
    follow(
        " is invalid: expected finite numbers above 0.",
        lambda: shuffle_order.draws_per_store([1, 0]),
        lambda: shuffle_order.draws_per_store([1, 1], 4) == [2, 2],
    )
    follow(
        " of their sum. Remove the store of the smallest.",
        lambda: shuffle_order.draws_per_store([1, 1e-9]),
        lambda: shuffle_order.draws_per_store([1], 4) == [4],
    )


def test_settings_of_batches():
    def settings(**changed):
        rows.check(dict(sequence_length=8, batch_size=2, seed=0, start_step=0) | changed)
        return True

    follow(" is invalid: expected a whole number from ", lambda: settings(batch_size=1.0), lambda: settings(batch_size=1))
    follow(" is invalid: expected a whole number from ", lambda: settings(seed=-1), lambda: settings(seed=0))
    evaluated = lambda repeat: causal._check(8, 2, 0, 0, repeat, 4) is None  # noqa: E731
    follow(" because it is for evaluation. Give repeat=False with it.", lambda: evaluated(True), lambda: evaluated(False))

    def hidden(unit="token", pairs="none", document_masks=False, **shares):
        return masked._check(FRAMED, 16, unit, pairs, document_masks, shares) is None

    for unit in ("token", "word"):
        follow(" is invalid: expected one of ", lambda: hidden(unit="letter"), lambda: hidden(unit=unit))
    follow(" is invalid: expected a number ", lambda: hidden(mask_rate=0), lambda: hidden(mask_rate=0.1))
    follow(" is invalid: expected a number ", lambda: hidden(random_share=1), lambda: hidden(random_share=0))
    without_pairs = "document_masks=True is invalid: expected False with pairs="
    for right in (dict(document_masks=True), dict(pairs="nsp")):
        follow(without_pairs, lambda: hidden(pairs="nsp", document_masks=True), lambda: hidden(**right))
    follow(
        "Give one that has: bytes, unigram, bpe, WordPiece, RoBERTa's.",
        lambda: Vocabulary.of(byte_like.Maskless()),
        lambda: Vocabulary.of(BYTES),
    )
    plain = Batches(lambda first, count: tf.data.Dataset.range(3).batch(count), lambda number: {}, 6)
    follow(" is invalid: expected a multiple of ", lambda: plain.share(0, 4), lambda: plain.share(0, 3))
    follow(" is invalid: expected 1 row or more.", lambda: plain.first_rows(0), lambda: plain.take(1))
    steps = lambda start: rows.dataset(  # noqa: E731
        lambda draw: {"a": draw},
        rows.Rows(*[(2,)] * len(rows.Rows.__dataclass_fields__)),
        batch_size=1,
        start_step=start,
        repeat=False,
    )
    follow(" is invalid: expected 0 to ", lambda: steps(3), lambda: int(steps(2).cardinality()) == 0)
