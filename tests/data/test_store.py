"""What a store says of itself, and a clear error for every way it can be broken."""

import json

import byte_like
import pytest

from tfllm.data import Store, StoreError, prepare
from tfllm.tokenizers import ByteTokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Validation has")  # small corpora


@pytest.fixture
def store(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(["one", "two 中", "three", "four\x00"]))
    return prepare(
        tmp_path / "a.txt",
        ByteTokenizer(),
        tmp_path / "out",
        separator="\n",
        validation=0.25,
        processes=1,
        progress=False,
    )


def test_what_is_in_it(store):
    train, validation = store.split(), store.split("validation")
    assert train.documents + validation.documents == 4
    assert train.utf8_bytes + validation.utf8_bytes == sum(
        len(text.encode()) for text in ("one", "two 中", "three", "four\x00")
    )
    texts = {*store.texts("train", ByteTokenizer()), *store.texts("validation", ByteTokenizer())}
    assert texts == {"one", "two 中", "three", "four\x00"}
    for ids, text in zip(store.documents("train"), store.texts("train", ByteTokenizer()), strict=True):
        assert ids.tolist() == ByteTokenizer().encode(text)
    assert store.manifest["tokenizer"] == {
        "kind": "bytes",
        "vocab_size": ByteTokenizer.vocab_size,
        "fingerprint": ByteTokenizer().fingerprint(),
        "separator_id": 1,
    }
    assert Store.open(store.folder, ByteTokenizer(), verify=True).fingerprint == store.fingerprint


def test_documents_as_in_the_docstring(tmp_path):
    (tmp_path / "a.txt").write_text("\x02\x03--\x04")
    store = prepare(tmp_path, ByteTokenizer(), tmp_path / "o", separator="--", validation=0, processes=1, progress=False)
    assert sorted(ids.tolist() for ids in store.documents()) == [[5, 6], [7]]


def test_documents_of_shards_some_of_which_are_empty(tmp_path):
    (tmp_path / "a.txt").write_text("--".join("abcdefghijkl"))
    settings = dict(separator="--", validation=0, shards=16, processes=1, progress=False)
    store = prepare(tmp_path / "a.txt", ByteTokenizer(), tmp_path / "out", **settings)
    assert 1 in store.split().lengths  # a separator, and no document
    assert sorted(store.texts("train", ByteTokenizer())) == list("abcdefghijkl")


def shard(store):
    return store.folder / "train-00000-of-00001.tokens"


def manifest(store, change):
    path = store.folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: shard(s).unlink(), "train-00000-of-00001.tokens is missing. Copy the store again"),
        (lambda s: shard(s).write_bytes(shard(s).read_bytes()[:-2]), "tokens has 12 bytes, the manifest says 14"),
        (lambda s: shard(s).write_bytes(shard(s).read_bytes() + b"x"), "tokens has 15 bytes, the manifest says 14"),
        (lambda s: shard(s).with_suffix(".offsets").write_bytes(b""), "offsets has 0 bytes, the manifest says 8"),
        (lambda s: (s.folder / "manifest.json").write_text("{"), r"manifest\.json cannot be read"),
        (lambda s: (s.folder / "manifest.json").write_bytes(b"\xff"), r"manifest\.json cannot be read"),
        (lambda s: (s.folder / "manifest.json").write_text("[]"), "has format 'list'; this version reads 1"),
        (lambda s: (s.folder / "manifest.json").unlink(), r"out has no manifest\.json: it is not a token store"),
        (lambda s: manifest(s, lambda m: m.update(format=9)), "has format 9; this version reads 1"),
        (lambda s: manifest(s, lambda m: m["splits"]["train"].update(tokens=1)), "its checksum does not fit"),
    ],
)
def test_damage_is_found_at_open(store, damage, message):
    damage(store)
    with pytest.raises(StoreError, match=message):
        Store.open(store.folder)


@pytest.mark.parametrize("suffix", [".tokens", ".offsets"])
def test_changed_content_is_found_by_verify(store, suffix):
    path = shard(store).with_suffix(suffix)
    data = bytearray(path.read_bytes())
    data[4] ^= 1
    path.write_bytes(data)
    Store.open(store.folder)
    with pytest.raises(StoreError, match=f"{suffix} is damaged: sha256"):
        Store.open(store.folder, verify=True)


def test_another_tokenizer_is_an_error(store):
    with pytest.raises(StoreError, match=r"prepared with another tokenizer: bytes with .* this one is bytes .*\(000000000000…"):
        Store.open(store.folder, byte_like.Other())
    with pytest.raises(StoreError, match="another tokenizer"):
        next(store.texts("train", byte_like.Other()))


def test_no_store_there(tmp_path):
    with pytest.raises(StoreError, match=r"gone does not exist\. Make a token store with tfllm\.data\.prepare"):
        Store.open(tmp_path / "gone")


def test_no_tensorflow_is_needed_to_prepare_and_open():
    import subprocess
    import sys

    code = "import sys, tfllm.data; tfllm.data.prepare, tfllm.data.Store; assert 'tensorflow' not in sys.modules"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
