"""Text to a store: the rows of the docstring, the same bytes whatever happens on the way, and every refusal."""

import contextlib
import errno
import gzip
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import byte_like
import numpy as np
import pytest

from tfllm.corpus.formats import SourceError
from tfllm.data import Store, StoreError, prepare, texts
from tfllm.data.preparation import local as module
from tfllm.data.preparation.worker_pool import WorkerError
from tfllm.files import WriteError
from tfllm.tokenizers import ByteTokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Validation has")  # small corpora


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def quiet(paths, out, *, tokenizer=None, processes=1, **settings):
    return prepare(paths, tokenizer or ByteTokenizer(), out, processes=processes, progress=False, **settings)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """4.5 MB in four chunks: 900 documents in files of three kinds, some of them twice."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(1)
    texts = ["".join(rng.choices("abc 中\n", k=rng.randint(1, 8000))) for _ in range(900)]
    texts += texts[::50]
    for number, text in enumerate(texts[:300]):
        (folder / f"{number}.txt").write_text(text)
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[300:700]))
    (folder / "b.txt").write_text("\x1e".join(texts[700:]))
    return folder, sorted(set(texts))


@pytest.fixture(scope="module")
def reference(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("stores") / "one"
    return quiet(corpus[0], out, separator="\x1e", shards=3, validation=0.1)


def test_texts_are_those_of_the_store(corpus, reference):
    read = list(texts(corpus[0], separator="\x1e"))
    assert sorted(set(read)) == corpus[1]
    assert len(read) - len(corpus[1]) == reference.manifest["duplicates_removed"]


def test_texts_that_cannot_be_read(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff")
    (tmp_path / "b.jsonl").write_text('{"body": "one"}\n')
    with pytest.raises(SourceError, match="does not exist"):
        texts(tmp_path / "nothing")
    with pytest.raises(ValueError, match="invalid_utf8='ignore' is invalid"):
        texts(tmp_path, invalid_utf8="ignore")
    with pytest.raises(SourceError, match=r"a\.txt \(byte 0 of the document is 0xff\): not valid UTF-8"):
        next(texts(tmp_path, field="body"))
    with pytest.warns(UserWarning, match=r"skipped 1 documents that are no UTF-8 text, in .*a\.txt"):
        assert list(texts(tmp_path, field="body", invalid_utf8="skip")) == ["one"]
    with pytest.raises(SourceError, match=r"b\.jsonl.*there is no 'text', only 'body'"):
        list(texts(tmp_path, exclude="a.*"))


def test_a_store_is_no_text_of_its_corpus(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.json").write_text('[{"text": "one"}]')
    first = quiet(tmp_path / "texts", tmp_path / "texts/store", validation=0)
    assert quiet(tmp_path / "texts", tmp_path / "texts/store", validation=0).fingerprint == first.fingerprint
    assert quiet(tmp_path / "texts", tmp_path / "other", validation=0).fingerprint == first.fingerprint
    with pytest.raises(SourceError, match="holds no file to read"):
        quiet(tmp_path / "texts/store", tmp_path / "third")


def test_texts_in_memory_are_the_same_documents(corpus, reference, tmp_path):
    every = [text for number in range(2) for text in corpus[1]]
    store = prepare(
        texts=iter(every), tokenizer=ByteTokenizer(), out=tmp_path / "out", shards=3, validation=0.1, progress=False
    )
    assert store.fingerprint == reference.fingerprint
    assert store.manifest["inputs"] == {"texts": len(every), "bytes": sum(len(text.encode()) for text in every)}
    assert store.manifest["duplicates_removed"] == len(corpus[1])


def test_texts_in_memory_are_known_again_by_their_content(tmp_path, monkeypatch):
    def call(texts, **settings):
        return prepare(
            [], ByteTokenizer(), tmp_path / "out", texts=texts, validation=0, processes=1, progress=False, **settings
        )

    def interrupt(*args):
        raise KeyboardInterrupt

    documents = ["one", "two", "", "\u2028three\n"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "publish_store", interrupt)
        call(documents)
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_chunk_file", interrupt)  # it goes on with what is there
        store = call(iter(documents))
        assert call(tuple(documents)).manifest == store.manifest
    assert sorted(store.texts("train", ByteTokenizer())) == sorted(filter(None, documents))
    assert store.manifest["empty_documents"] == 1
    for others in (["one", "two"], ["onetwo", "", "", "\u2028three\n"]):
        with pytest.raises(StoreError, match="made from other files or texts"):
            call(others)
    for settings in ({"field": "body"}, {"separator": "\n"}, {"exclude": "*.py"}):
        (name,) = settings
        with pytest.raises(
            ValueError, match=f"{name}=.* is invalid: expected no {name} with texts, because it is for files. Remove it"
        ):
            call(documents, **settings)


def test_texts_that_are_none(tmp_path):
    for given, error, message in (
        ("one string", TypeError, "texts is invalid: expected an iterable of strings, got one string"),
        (["one", b"two"], TypeError, r"texts\[1\]=b'two' is invalid: expected a string"),
        (["", ""], SourceError, "texts holds 2 texts, all empty"),
        (["one", "\ud800"], SourceError, r"texts, record 2 \(a lone surrogate\): not valid UTF-8"),
    ):
        with pytest.raises(error, match=message):
            prepare(texts=given, tokenizer=ByteTokenizer(), out=tmp_path / "out", progress=False)
    with pytest.warns(UserWarning, match="1 documents are not UTF-8 and were skipped, in 1 files such as texts"):
        quiet([], tmp_path / "out", texts=["one", "\ud800"], invalid_utf8="skip")
    for given in ({"paths": tmp_path, "texts": ["one"]}, {"paths": [tmp_path], "texts": ["one"]}):
        with pytest.raises(ValueError, match="Both paths and texts were given"):
            prepare(tokenizer=ByteTokenizer(), out=tmp_path / "new", **given)
    with pytest.raises(SourceError, match=r"No paths were given. Name files, folders or globs such as .* or give texts="):
        prepare(tokenizer=ByteTokenizer(), out=tmp_path / "new")
    with pytest.raises(TypeError, match="prepare needs a tokenizer and a folder"):
        prepare(tmp_path)


def test_what_is_skipped_is_printed_and_in_the_manifest(tmp_path, capsys):
    (tmp_path / "in/__pycache__").mkdir(parents=True)
    (tmp_path / "in/LICENSE").write_text("one")
    (tmp_path / "in/package.json").write_text('{"name": "x"}')
    for number in range(3):
        (tmp_path / f"in/__pycache__/{number}.pyc").write_bytes(b"\xa7\0")
    store = prepare(tmp_path / "in", ByteTokenizer(), tmp_path / "out", validation=0, processes=1)
    assert capsys.readouterr().err.startswith("skipped 4 files: 3 .pyc, 1 .json without a string 'text'\n")
    passed = {".json without a string 'text'": 1, ".pyc": 3}
    assert store.manifest["inputs"] == {"files": 1, "bytes": 3, "passed_by": passed}
    assert quiet(tmp_path / "in", tmp_path / "out", validation=0).fingerprint == store.fingerprint
    assert capsys.readouterr().err == ""


def test_stores_of_before_are_known_again(tmp_path):
    """What is read as it always was has the fingerprint it always had; what is read otherwise has another."""

    def expected(*more):
        names = [tmp_path / "in" / name for name in ("a.txt", "b.jsonl", "c.jsonl.gz")]
        files = [[os.path.realpath(path), path.stat().st_size, path.stat().st_mtime_ns] for path in names]
        files[0] += more
        manifest = store.manifest
        text = json.dumps([1, files, manifest["settings"], manifest["tokenizer"]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("one")
    (tmp_path / "in/b.jsonl").write_text('{"text": "two"}\n')
    (tmp_path / "in/c.jsonl.gz").write_bytes(gzip.compress(b'{"text": "three"}\n'))
    store = quiet(tmp_path / "in", tmp_path / "out", validation=0)
    assert store.manifest["fingerprint"] == expected()
    (tmp_path / "in/a.txt").write_text("\ufeffone")  # the mark was part of the document
    store = quiet(tmp_path / "in", tmp_path / "marked", validation=0)
    assert store.manifest["fingerprint"] == expected("marked")
    (tmp_path / "in/a.txt").rename(tmp_path / "in/b.ndjson")
    (tmp_path / "in/b.ndjson").write_text('{"text": "one"}')  # was a text
    store = quiet(tmp_path / "in/b.ndjson", tmp_path / "lines", validation=0)
    entry = [os.path.realpath(tmp_path / "in/b.ndjson"), 15, (tmp_path / "in/b.ndjson").stat().st_mtime_ns, "jsonl"]
    text = json.dumps([1, [entry], store.manifest["settings"], store.manifest["tokenizer"]], sort_keys=True)
    assert store.manifest["fingerprint"] == hashlib.sha256(text.encode()).hexdigest()


def test_rows_as_in_the_docstring(tmp_path):
    (tmp_path / "greek.txt").write_text("alpha--beta--alpha")
    store = quiet(tmp_path / "greek.txt", tmp_path / "out", separator="--", validation=0)
    ids = np.fromfile(tmp_path / "out/train-00000-of-00001.tokens", "<u2")
    assert ids.tolist() == [1, 100, 111, 115, 107, 100, 1, 101, 104, 119, 100, 1]
    assert np.fromfile(tmp_path / "out/train-00000-of-00001.offsets", "<u8").tolist() == [1, 7]
    assert store.manifest["duplicates_removed"] == 1
    assert not (tmp_path / ".out.preparing").exists()


def test_every_document_once_in_the_order_of_its_hash(corpus, reference):
    _, texts = corpus
    found = {split: list(reference.texts(split, ByteTokenizer())) for split in ("train", "validation")}
    assert sorted(found["train"] + found["validation"]) == texts
    for split in found.values():
        hashes = [hashlib.sha256(text.encode()).digest() for text in split]
        assert hashes == sorted(hashes)
    train = reference.split("train")
    assert len(train.paths) == 3
    assert train.documents == len(found["train"])
    assert train.utf8_bytes == sum(len(text.encode()) for text in found["train"])
    assert train.tokens == train.utf8_bytes + train.documents == sum(train.lengths) - 3
    assert reference.manifest["duplicates_removed"] == 18
    Store.open(reference.folder, ByteTokenizer(), verify=True)


def test_the_split_follows_from_the_text_alone(corpus, reference, tmp_path):
    held_out = set(reference.texts("validation", ByteTokenizer()))
    assert 60 < len(held_out) < 120
    for text in held_out:
        assert int.from_bytes(hashlib.sha256(text.encode()).digest()[8:16], "big") < 0.1 * 2**64
    fewer = quiet(corpus[0] / "a.jsonl", tmp_path / "fewer", shards=1, validation=0.1)
    again = set(fewer.texts("validation", ByteTokenizer()))
    assert again == held_out & (again | set(fewer.texts("train", ByteTokenizer())))
    more = quiet(corpus[0] / "a.jsonl", tmp_path / "more", shards=7, validation=0.2)
    assert again < set(more.texts("validation", ByteTokenizer()))


@pytest.mark.parametrize("processes", [2, 3])
def test_the_same_bytes_with_more_processes(corpus, reference, tmp_path, monkeypatch, processes):
    monkeypatch.setattr(module, "FEW_IDS", 0)  # the shards by workers, too
    store = quiet(corpus[0], tmp_path / "out", separator="\x1e", shards=3, validation=0.1, processes=processes)
    assert tree(store.folder) == tree(reference.folder)


def test_the_same_documents_whatever_the_files(corpus, reference, tmp_path):
    texts = list(corpus[1])
    random.Random(5).shuffle(texts)
    (tmp_path / "all.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in texts))
    store = quiet(tmp_path / "all.jsonl", tmp_path / "out", field="body", shards=3, validation=0.1)
    assert store.fingerprint == reference.fingerprint


def test_killed_again_and_again_it_goes_on(corpus, reference, tmp_path):
    settings = "separator='\\x1e', shards=3, validation=0.1, processes=2, progress=False"
    call = f"prepare({str(corpus[0])!r}, Slow(), {{!r}}, {settings})"
    script = "from byte_like import Slow\nfrom tfllm.data import prepare\n" + call
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    out, done, kills = tmp_path / "out", set(), 0
    while not out.exists():
        process = subprocess.Popen([sys.executable, "-c", script.format(str(out))], env=environment)
        before = len(done)
        while process.poll() is None and len(done) <= before:
            time.sleep(0.005)
            with contextlib.suppress(FileNotFoundError):  # it has just finished, and removes them
                done = {path: path.stat().st_ino for path in tmp_path.glob(".out.preparing/*/pieces/*.piece")}
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
            if not out.exists():
                with pytest.raises(StoreError, match="out is not finished: its preparation was interrupted"):
                    Store.open(out)
        process.wait()
        for path, inode in done.items():  # what was finished is not made again
            assert not path.exists() or path.stat().st_ino == inode
    assert kills >= 3
    assert tree(out) == tree(reference.folder)


def test_interrupted_at_the_end_it_makes_nothing_twice(corpus, reference, tmp_path, monkeypatch):
    def call():
        return quiet(corpus[0], tmp_path / "out", separator="\x1e", shards=3, validation=0.1)

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "publish_store", interrupt)
        call()
    assert not (tmp_path / "out").exists()
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / ".out.preparing").rglob("*.tokens")}
    assert len(shards) == 4
    monkeypatch.setattr(module, "write_chunk_file", interrupt)
    store = call()
    assert tree(store.folder) == tree(reference.folder)
    assert sorted(shards.values()) == sorted(path.stat().st_mtime_ns for path in store.folder.glob("*.tokens"))


def test_changed_inputs_start_anew(corpus, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("first")

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "publish_store", interrupt)
        quiet(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in/a.txt").write_text("other")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "publish_store", interrupt)
        quiet(tmp_path / "in", tmp_path / "out")
    assert len(list(tmp_path.glob(".out.preparing/*/pieces"))) == 1, "the old work is gone"
    assert list(quiet(tmp_path / "in", tmp_path / "out").texts("train", ByteTokenizer())) == ["other"]


def test_finished_it_returns_at_once_and_refuses_others(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    first = quiet(tmp_path / "*.txt", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_chunk_file", None)
        assert quiet(tmp_path / "*.txt", tmp_path / "out").manifest == first.manifest
    with pytest.raises(StoreError, match=r"other settings: validation was 0\.005, now 0\.5\. Give another `out`"):
        quiet(tmp_path / "*.txt", tmp_path / "out", validation=0.5)
    with pytest.raises(StoreError, match="made from other files"):
        quiet(tmp_path / "a.txt", tmp_path / "out")
    with pytest.raises(StoreError, match="prepared with another tokenizer"):
        quiet(tmp_path / "*.txt", tmp_path / "out", tokenizer=byte_like.Other())
    with pytest.raises(StoreError, match="is not a token store"):
        quiet(tmp_path / "a.txt", tmp_path)


@pytest.mark.parametrize("inside", ["", "a/b"])
def test_a_file_in_the_way_is_said_at_once(tmp_path, monkeypatch, inside):
    (tmp_path / "out").write_text("mine")
    monkeypatch.setattr(module, "Files", None)  # nothing was looked at yet
    with pytest.raises(StoreError, match=r"/out is a file; `out` is the folder a store is made in"):
        quiet(tmp_path, tmp_path / "out" / inside)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(("count", "warned"), [(1, 1), (9, 1), (10, 0)])
def test_few_validation_documents_are_told(tmp_path, count, warned):
    texts = [str(number) for number in range(3 * count)]
    keys = sorted(int.from_bytes(hashlib.sha256(text.encode()).digest()[8:16], "big") for text in texts)
    edge = (keys[count - 1] + keys[count]) / 2**65
    (tmp_path / "a.txt").write_text("\n".join(texts))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        store = quiet(tmp_path / "a.txt", tmp_path / "out", separator="\n", validation=edge)
    assert store.split("validation").documents == count
    assert [str(one.message).split(":")[0] for one in seen] == [f"Validation has {count} of {3 * count} documents"] * warned
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet(tmp_path / "a.txt", tmp_path / "none", separator="\n", validation=0)


def test_two_at_once_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("one")

    def second(*args):
        with pytest.raises(StoreError, match=r"Another preparation of .*out is running"):
            quiet(tmp_path / "a.txt", tmp_path / "out")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "publish_store", second)
    with pytest.raises(KeyboardInterrupt):
        quiet(tmp_path / "a.txt", tmp_path / "out")


def test_a_file_changed_meanwhile_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("one")
    make = module.write_chunk_file

    def touch(chunk, work):
        os.utime(tmp_path / "a.txt", ns=(1, 1))
        return make(chunk, work)

    monkeypatch.setattr(module, "write_chunk_file", touch)
    with pytest.raises(SourceError, match=r"a\.txt changed while it was read"):
        quiet(tmp_path / "a.txt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [2, 40])
def test_a_small_corpus_still_has_validation(tmp_path, count):
    (tmp_path / "a.txt").write_text("\n".join(map(str, range(count))))
    store = quiet(tmp_path / "a.txt", tmp_path / "out", separator="\n", validation=0.001)
    assert store.split("validation").documents == 1
    assert store.split("train").documents == count - 1


def test_one_document_leaves_validation_empty_and_says_so(tmp_path):
    (tmp_path / "a.txt").write_text("only")
    store = quiet(tmp_path / "a.txt", tmp_path / "out")
    with pytest.raises(StoreError, match=r"no document in split 'validation' .*separator="):
        store.split("validation")
    with pytest.raises(StoreError, match=r"no split 'test'; there are \['train', 'validation'\]"):
        store.split("test")


def test_skipped_empty_and_u2581_are_counted(tmp_path):
    for name, data in {"a.txt": b"a", "b.txt": b"\xff", "c.txt": b"", "d.txt": "\u2581x".encode()}.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "e.jsonl").write_bytes(b'{"text": "\xff"}\n{"text": "\xfe"}\n{"text": ""}\n')
    with pytest.raises(SourceError, match=r"b\.txt \(byte 0"):
        quiet(tmp_path, tmp_path / "out")
    with pytest.warns(UserWarning) as seen:
        store = quiet(tmp_path, tmp_path / "out", invalid_utf8="skip", tokenizer=byte_like.SpaceMark())
    assert "3 documents are not UTF-8 and were skipped, in 2 files such as" in str(seen[1].message)
    assert "1 documents hold U+2581" in str(seen[2].message)
    assert store.manifest["skipped_files"] == [
        {"file": str(tmp_path / "b.txt"), "documents": 1},
        {"file": str(tmp_path / "e.jsonl"), "documents": 2},
    ]
    assert (store.manifest["empty_documents"], store.manifest["documents_with_u2581"]) == (2, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet(tmp_path / "d.txt", tmp_path / "lossless", validation=0)


def test_ids_beyond_uint16(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    store = quiet(tmp_path / "a.txt", tmp_path / "out", tokenizer=byte_like.Wide())
    assert (store.manifest["dtype"], store.dtype.str) == ("uint32", "<u4")
    assert np.fromfile(store.split().paths[0], "<u4").tolist() == [1, 69_100, 1]


def test_more_pieces_than_file_handles(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("\n".join(map(str, range(20_000))))
    monkeypatch.setattr(module, "LEAST_CHUNK", 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + 12
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        store = quiet(tmp_path / "a.txt", tmp_path / "out", separator="\n", validation=0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert lowest < 1000 < store.manifest["inputs"]["bytes"] // 100
    assert sorted(map(int, store.texts("train", ByteTokenizer()))) == list(range(20_000))


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (b"--", {"separator": "--"}, "No document is left: 1 were empty and 0 were not UTF-8"),
        (b"\xff", {"invalid_utf8": "skip"}, "No document is left: 0 were empty and 1 were not UTF-8"),
        (b"a--b--c--d", {"separator": "--", "validation": 0.9999}, "leaves documents for training, and it takes all 4"),
        (b"x", {"validation": 1}, r"validation=1\.0 is invalid: expected a fraction"),
        (b"x", {"validation": -0.1}, "expected a fraction"),
        (b"x", {"separator": ""}, "separator='' is invalid"),
        (b"x", {"shards": 0}, "shards=0 is invalid"),
        (b"x", {"shards": 8.0}, r"shards=8\.0 is invalid: expected None, or an int from 1"),
        (b"x", {"invalid_utf8": "replace"}, "invalid_utf8='replace' is invalid: expected 'error' or 'skip'"),
        (b"x", {"field": ""}, "field='' is invalid"),
        (b"x", {"processes": 0}, "processes=0 is invalid"),
        (b"x", {"tokenizer": byte_like.Broken()}, "without the separator 1"),
    ],
)
def test_refusals(tmp_path, data, settings, message):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        quiet(tmp_path / "a.txt", tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_names_the_file_and_the_work_goes_on_later(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(map(str, range(100_000))))
    call = f"prepare({str(tmp_path / 'a.txt')!r}, ByteTokenizer(), {str(tmp_path / 'out')!r}, separator='\\n', progress=False)"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, -1))\n"
    imports = "from tfllm.data import prepare\nfrom tfllm.tokenizers import ByteTokenizer\n"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", imports + limit + call], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "WriteError" in done.stderr
    assert "/pieces/0000000" in done.stderr
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.partial")) + list(tmp_path.rglob("*.piece"))
    subprocess.run([sys.executable, "-c", imports + call], check=True, env=environment)
    splits = Store.open(tmp_path / "out").manifest["splits"]
    assert sum(split["documents"] for split in splits.values()) == 100_000


def test_no_space_left_is_said_in_words(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("one")
    sync = os.fsync

    def refuse(file):
        if ".tokens" in str(Path(f"/proc/self/fd/{file}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(WriteError, match=r"Could not write .*train-00000-of-00001\.tokens: No space left") as error:
        quiet(tmp_path / "a.txt", tmp_path / "out")
    assert error.value.errno == errno.ENOSPC
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.tokens*"))


def test_a_dead_worker_leaves_nothing_that_looks_finished(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "write_chunk_file", byte_like.die)
    with pytest.raises(WorkerError, match=r"ended with .* while it worked on"):
        quiet(corpus[0], tmp_path / "out", processes=2)
    assert not (tmp_path / "out").exists()
