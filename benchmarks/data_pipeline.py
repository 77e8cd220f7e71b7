"""How fast text becomes a store, beside `tokenizers`, `sentencepiece` and `datasets`, and a store becomes batches.

    python benchmarks/data_pipeline.py --rounds 5

Enters: nothing; the corpus is the running Python's standard library, the tokenizers are trained on a part of it.
Leaves: `results/data_pipeline.json`, `data_pipeline.md`, `data_pipeline.png`.
"""

from __future__ import annotations

import shutil
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import tyro
from data_worker import MASKED
from harness import Contender, Measured, measure
from report import RESULTS, bars, publish, quartiles, record, rows, spread, usage, write

from tfllm.data import prepare
from tfllm.tokenizers import load, train

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
PREPARERS = {
    "byte_bpe": ("tokenizers", "tfllm", "datasets"),
    "wordpiece": ("tokenizers", "tfllm"),
    "unigram": ("sentencepiece", "tfllm"),
}
"""By kind of tokenizer, who prepares; the first is compared with."""
TEXT = """\
Written by `data_pipeline.py`. Corpus: the files of Python's standard library, on all cores, with tokenizers trained on a part
of it. tfllm: `prepare`, from files to a store: worker processes started, exact duplicates removed, documents ordered by hash,
checksums taken. tokenizers, sentencepiece: files read, all texts in one call, ids written to a file. datasets: `map` on as many
processes, saved. Batches (rows x ids): made from a store, with no model behind them. Medians over rounds, quartiles in
brackets; ratio: over the kind's first row, round by round. Cores: processor time over time. Others: cores that other processes
took meanwhile. Peak MB: resident memory, of the main process."""


def main(rounds: int = 5, *, steps: int = 500, out: Path = RESULTS) -> None:
    """Times preparation and batches.

    Args:
        rounds: turns of each.
        steps: batches a turn.
        out: folder of the results.
    """
    prepared = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        megabytes = write_corpus(folder)
        for kind, names in PREPARERS.items():
            job = {"folder": place, "vocabulary": write_vocabulary(kind, folder)}
            contenders = [Contender(f"{kind} {name}", "data_worker.py", job | {"library": name}) for name in names]
            prepared[kind] = measure(contenders, rounds=rounds)
        store = {"folder": place, "vocabulary": str(folder / "byte_bpe"), "library": "batches"}
        prepare(str(folder / "text" / "*.txt"), load(folder / "byte_bpe" / "tfllm"), folder / "store", progress=False)
        cases = [{"pipeline": "causal", "sequence_length": 256, "batch_size": size, "steps": steps} for size in (16, 64)]
        cases += [{"pipeline": "causal", "sequence_length": 1024, "batch_size": 16, "steps": steps}]
        cases += [
            {"pipeline": name, "sequence_length": 128, "batch_size": size, "steps": steps}
            for name in MASKED
            for size in (16, 256)
        ]
        batched = measure([Contender("batches", "data_worker.py", store)], rounds=rounds, cases=cases)
    result = record(whole([*prepared.values(), batched]), megabytes=megabytes)
    result["preparation"] = {
        name: preparation(each.of(contender=name), each.of(contender=next(iter(each.ready))), megabytes)
        for each in prepared.values()
        for name in each.ready
    }
    result["batches"] = {
        f"{case['pipeline']}, {case['batch_size']} x {case['sequence_length']}": batches(batched, case) for case in cases
    }
    write(out, "data_pipeline", result)
    show(out, result)


def whole(parts: list[Measured]) -> Measured:
    """One record of all."""
    together = Measured()
    for part in parts:
        together.samples += part.samples
        together.first += part.first
        together.ready |= part.ready
        together.skipped |= part.skipped
    return together


def write_corpus(folder: Path) -> float:
    """Text; how many megabytes."""
    (folder / "text").mkdir()
    size = 0
    for number, path in enumerate(sorted(LIBRARY.rglob("*.py"))):
        if "site-packages" in path.parts:
            continue
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:  # four files are meant to be broken
            continue
        if text.strip():
            (folder / "text" / f"{number:05}.txt").write_text(text)
            size += len(text.encode())
    return size / 1e6


def write_vocabulary(kind: str, folder: Path) -> str:
    """A folder of `tfllm/`, and the same as `tokenizer.json` or `unigram.model`."""
    tokenizer = train([str(LIBRARY / "[a-j]*.py")], kind=kind, vocab_size=8192, progress=False)
    tokenizer.save(folder / kind / "tfllm")
    (asset,) = (folder / kind / "tfllm").glob("*.model")
    shutil.copy(asset, folder / kind / ("unigram.model" if kind == "unigram" else "tokenizer.json"))
    return str(folder / kind)


def preparation(mine: list[dict[str, Any]], base: list[dict[str, Any]], megabytes: float) -> dict[str, Any]:
    return usage(mine, base) | {"mb_per_second": quartiles([megabytes / sample["wall_seconds"] for sample in mine])}


def batches(measured: Measured, case: dict[str, Any]) -> dict[str, Any]:
    samples = measured.of(**case)
    tokens = case["batch_size"] * case["sequence_length"] * case["steps"]
    return usage(samples) | {"million_tokens_per_second": quartiles([tokens / each["wall_seconds"] / 1e6 for each in samples])}


def show(out: Path, result: dict[str, Any]) -> None:
    body = []
    for name, each in result["preparation"].items():
        cells = [name, spread(each["mb_per_second"], 1), spread(each.get("ratio")), f"{each['cores']:.1f}"]
        body.append([*cells, f"{each['peak_mb']:.0f}", each["rounds"], f"{each['others']:.1f}"])
    table = rows(("preparation", "MB/s", "ratio", "cores", "peak MB", "rounds", "others"), body)
    body = []
    for name, each in result["batches"].items():
        cells = [name, spread(each["million_tokens_per_second"], 1), f"{each['cores']:.1f}", f"{each['peak_mb']:.0f}"]
        body.append([*cells, each["rounds"], f"{each['others']:.1f}"])
    table += ["", *rows(("batches", "million tokens/s", "cores", "peak MB", "rounds", "others"), body)]
    speeds = {name: each["mb_per_second"] for name, each in result["preparation"].items()}
    tokens = {name: each["million_tokens_per_second"] for name, each in result["batches"].items()}
    bars(out / "data_pipeline.png", "Data", "", {"preparation, MB/s": speeds, "batches, million tokens/s": tokens})
    publish(out, "data_pipeline", "Text to batches", [result], text=TEXT.splitlines(), table=table)


if __name__ == "__main__":
    tyro.cli(main)
