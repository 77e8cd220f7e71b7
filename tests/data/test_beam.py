"""The Beam pipeline on the direct runner: local preparation's bytes, and nothing that looks finished before it is."""

import bz2
import gzip
import json
import lzma
import os
import random
import re
import signal
import subprocess
import sys
import time

import byte_like
import memory_files
import pyarrow
import pyarrow.parquet
import pytest

from tfllm.corpus.formats import SourceError
from tfllm.data import Store, StoreError, prepare, prepare_with_beam
from tfllm.data.preparation import beam_pipeline
from tfllm.tokenizers import ByteTokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Validation has", "ignore:.*not UTF-8 and were skipped")

RAISED = (ValueError, RuntimeError)
"""A worker's own error where the runner has it in this process, else Beam's with its words."""

SETTINGS = dict(separator="\n", exclude=["left_out.txt"], validation=0.1, invalid_utf8="skip")


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def local(paths, out, **settings):
    return tree(prepare(paths, ByteTokenizer(), out, processes=1, progress=False, **settings).folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Files of every kind: exact duplicates within and between them, near duplicates, empty and invalid documents."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(1)
    texts = [" ".join(f"{rng.getrandbits(20):x}" for _ in range(rng.randint(1, 150))) for _ in range(300)]
    texts += [text + " 中" for text in texts[:60]] + texts[:100:3]
    rng.shuffle(texts)
    parts = [texts[start : start + 120] for start in range(0, 394, 80)]  # they overlap
    lines = ["".join(json.dumps({"text": text}) + "\n" for text in part) for part in parts]
    (folder / "a.txt").write_bytes(b"\n".join([*(text.encode() for text in parts[0]), b"", b"\xff", b"\xfe"]))
    (folder / "b.jsonl").write_text(lines[1])
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(lines[2].encode()))
    (folder / "left_out.txt").write_text("never read")
    (folder / "below").mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"text": parts[3]}), folder / "below/d.parquet", row_group_size=30)
    (folder / "below/e.txt").write_text("\u2581" + "\n".join(parts[4]))
    (folder / "below/f.json").write_text("\ufeff" + json.dumps([{"text": text} for text in parts[0]], indent=1))
    (folder / "below/g.csv.bz2").write_bytes(bz2.compress(("text\n" + "\n".join(parts[1])).encode()))
    (folder / "below/h.txt.xz").write_bytes(lzma.compress("\n".join(parts[2]).encode()))
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        dict(shards=3),
        dict(shards=3, near_duplicates=0.8),
        dict(near_duplicates=0.5, validation=0.001),
        dict(shards=150, validation=0),
    ],
    ids=["plain", "near", "one-held-out", "empty-shards"],
)
def test_the_bytes_of_local_preparation(corpus, tmp_path, monkeypatch, settings):
    monkeypatch.setattr(beam_pipeline, "CHUNK_BYTES", 5000)
    settings = SETTINGS | settings
    manifest = prepare_with_beam(corpus, ByteTokenizer(), tmp_path / "beam", **settings)
    expected = local(corpus, tmp_path / "local", **settings)
    assert tree(tmp_path / "beam") == expected
    assert manifest == json.loads(expected["manifest.json"])
    assert (manifest["empty_documents"], manifest["skipped_documents"]) == (1, 2)
    assert manifest["duplicates_removed"] > 30
    assert manifest.get("near_duplicates_removed", 30) >= 30
    assert not (tmp_path / ".beam.preparing").exists()


def test_the_same_on_two_worker_processes(corpus, tmp_path):
    settings = SETTINGS | dict(shards=3, near_duplicates=0.8)
    options = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    prepare_with_beam(corpus, ByteTokenizer(), tmp_path / "beam", beam_options=options, **settings)
    assert tree(tmp_path / "beam") == local(corpus, tmp_path / "local", **settings)


def test_files_and_store_behind_a_scheme(corpus, tmp_path):
    memory_files.FILES.clear()
    for path in corpus.rglob("*.*"):
        name = str(path.relative_to(corpus)).replace("e.txt", "e[1].txt")  # which looks like a glob
        memory_files.FILES[f"memory://in/{name}"] = path.read_bytes()
    memory_files.FILES |= {"memory://in/.hidden.txt": b"no", "memory://in/x.so": b"no"}
    store = ("manifest.json", "train-00000-of-00001.tokens", "train-00000-of-00001.offsets")
    memory_files.FILES |= {f"memory://in/store/{name}": b"no" for name in store}
    memory_files.TIMES |= dict.fromkeys(memory_files.FILES, 7.0)
    expected = local(corpus, tmp_path / "local", **SETTINGS)

    def stored(out):
        files = {
            path.removeprefix(f"memory://{out}/"): data for path, data in memory_files.FILES.items() if f"//{out}/" in path
        }
        manifest = json.loads(files.pop("manifest.json"))
        reference = json.loads(expected["manifest.json"])
        differs = {key for key in reference if manifest[key] != reference[key]}
        assert differs == {
            "fingerprint",
            "skipped_files",
            "checksum",
            "inputs",
        }  # names of files are in them, and x.so was passed by
        assert manifest["inputs"] == reference["inputs"] | {"passed_by": {".so": 1}}
        assert files == {name: data for name, data in expected.items() if name != "manifest.json"}
        return manifest

    def left(*names):
        memory_files.FILES |= {f"memory://out/{name}": b"" for name in names}
        memory_files.TIMES |= dict.fromkeys(memory_files.FILES, 7.0)

    left(".one.preparing/01/result.json", "one/train-00000-of-00009.tokens", "one/train-00000-of-00009.offsets")
    left("one.more/train-00000-of-00009.tokens")  # another store
    manifest = prepare_with_beam("memory://in", ByteTokenizer(), "memory://out/one", **SETTINGS)
    assert stored("out/one") == manifest
    assert "memory://out/one.more/train-00000-of-00009.tokens" in memory_files.FILES
    assert manifest["skipped_files"] == [{"file": "memory://in/a.txt", "documents": 2}]
    paths = ["memory://in/**.txt", "memory://in/?.jsonl*", "memory://in/below"]
    named = prepare_with_beam(paths, ByteTokenizer(), "memory://out/two/", **SETTINGS)
    assert named["inputs"] == {"files": 8, "bytes": manifest["inputs"]["bytes"]}  # there was no search
    assert named | {key: manifest[key] for key in ("inputs", "checksum")} == manifest
    left(".one.preparing/01/result.json")  # killed before all was removed
    before = dict(memory_files.TIMES)
    assert prepare_with_beam("memory://in", ByteTokenizer(), "memory://out/one", **SETTINGS) == manifest
    assert before == memory_files.TIMES  # it was there
    assert not [path for path in memory_files.FILES if path.endswith(".partial") or ".preparing/" in path]
    with pytest.raises(StoreError, match="made from other files or settings"):
        prepare_with_beam("memory://in/a.txt", ByteTokenizer(), "memory://out/one", **SETTINGS)
    with pytest.raises(SourceError, match="'memory://nowhere' holds no file to read"):
        prepare_with_beam("memory://nowhere", ByteTokenizer(), "memory://out/three", **SETTINGS)


def test_killed_it_leaves_no_store(corpus, tmp_path):
    settings = SETTINGS | dict(shards=150)
    call = f"prepare_with_beam({str(corpus)!r}, ByteTokenizer(), {str(tmp_path / 'out')!r}, **{settings!r})"
    script = f"from tfllm.data import prepare_with_beam\nfrom tfllm.tokenizers import ByteTokenizer\n{call}"
    process = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    while process.poll() is None and not list(tmp_path.glob(".out.preparing/*/store/*.tokens")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with pytest.raises(StoreError, match="out is not finished"):
        Store.open(tmp_path / "out")
    prepare_with_beam(corpus, ByteTokenizer(), tmp_path / "out", **settings)
    assert tree(tmp_path / "out") == local(corpus, tmp_path / "local", **settings)


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_a_file_changed_meanwhile_is_an_error(tmp_path, monkeypatch, place):
    (tmp_path / "a.txt").write_text("one\ntwo")
    memory_files.FILES["memory://changing/a.txt"], memory_files.TIMES["memory://changing/a.txt"] = b"one\ntwo", 7.0
    build = beam_pipeline.build

    def touch(*args):
        os.utime(tmp_path / "a.txt", ns=(1, 1))
        memory_files.TIMES["memory://changing/a.txt"] = 8.0
        build(*args)

    monkeypatch.setattr(beam_pipeline, "build", touch)
    path, out = {"disk": (tmp_path / "a.txt", tmp_path / "out"), "memory": ("memory://changing", "memory://changed")}[place]
    with pytest.raises(SourceError, match=r"a\.txt changed while it was read"):
        prepare_with_beam(path, ByteTokenizer(), out, separator="\n")
    assert not (tmp_path / "out").exists()
    assert "memory://changed/manifest.json" not in memory_files.FILES


def test_finished_it_returns_at_once_and_either_way_knows_the_other(corpus, tmp_path, monkeypatch):
    manifest = prepare_with_beam(corpus, ByteTokenizer(), tmp_path / "out", **SETTINGS)
    monkeypatch.setattr(beam_pipeline, "build", None)
    assert prepare_with_beam(corpus, ByteTokenizer(), tmp_path / "out", **SETTINGS) == manifest
    assert prepare(corpus, ByteTokenizer(), tmp_path / "out", **SETTINGS).manifest == manifest
    with pytest.raises(StoreError, match=r"near_duplicates was None, now 0\.8"):
        prepare_with_beam(corpus, ByteTokenizer(), tmp_path / "out", near_duplicates=0.8, **SETTINGS)


def test_refusals(corpus, tmp_path, monkeypatch):
    def refused(paths=corpus, tokenizer=None, **settings):
        prepare_with_beam(paths, tokenizer or ByteTokenizer(), tmp_path / "out", **settings)

    with pytest.raises(ValueError, match="runner='Direct' is invalid: expected one of DirectRunner, FlinkRunner, SparkRunner"):
        refused(runner="Direct")
    with pytest.raises(
        ValueError, match=r"beam_options=\['--direct_num_worker=2', 'x'\] is invalid: expected options of Apache Beam"
    ):
        refused(beam_options=["--direct_num_worker=2", "--direct_running_mode=in_memory", "x"])
    with pytest.raises(ValueError, match="validation=2"):
        refused(validation=2)
    with pytest.raises(SourceError, match="does not exist"):
        refused(corpus / "nothing")
    with pytest.raises(RAISED, match=r"a\.txt .*: not valid UTF-8. Convert the file"):
        refused()
    with pytest.raises(RAISED, match="without the separator 1"):
        refused(corpus / "b.jsonl", byte_like.Broken())
    with pytest.raises(RAISED, match="is invalid: expected a fraction that leaves documents for training"):
        refused(corpus / "b.jsonl", validation=0.99999)
    with pytest.raises(ValueError, match="Unable to get filesystem"):
        refused("unheard://of")
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    with pytest.raises(ImportError, match=r"pip install 'tfllm\[beam\]'"):
        refused()


def test_on_the_command_line(corpus, tmp_path):
    ByteTokenizer().save(tmp_path / "tokenizer")

    def command(*more):
        given = ["--tokenizer", str(tmp_path / "tokenizer"), "--out", str(tmp_path / "out"), "--near-duplicates", "0.8"]
        call = [sys.executable, "-m", "tfllm", "prepare", str(corpus / "b.jsonl"), *given, *more]
        return subprocess.run(call, capture_output=True, text=True)

    assert command("--beam-options", "a=b").stderr.startswith(
        "tfllm: --beam-options is invalid: expected no value without --runner"
    )
    assert command("--runner", "DirectRunner", "--processes", "2").stderr.startswith(
        "tfllm: --processes 2 is invalid: expected no value with --runner"
    )
    done = command("--runner", "DirectRunner", "--beam-options", "direct_num_workers=1", "direct_running_mode=in_memory")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+ duplicates, \d+ near duplicates removed, 0 documents skipped", done.stdout)
    assert tree(tmp_path / "out") == local(corpus / "b.jsonl", tmp_path / "local", near_duplicates=0.8)
