"""How fast text becomes a store, beside `datasets`, and a store becomes batches.

    python benchmarks/data_pipeline.py --rounds 5

Enters: nothing; the corpus is the running Python's standard library, the tokenizer byte-level BPE trained on a part of it.
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
from tfllm.tokenizers import train

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
TEXT = """\
Written by `data_pipeline.py`. Corpus: the files of Python's standard library, on all cores; reading, tokenizing and writing
included. Batches: of 16 rows, made from a store, with no model behind them. Medians over rounds, quartiles in brackets; ratio:
over `datasets`, round by round. Cores: processor time over time. Others: cores that other processes took meanwhile. Peak MB:
resident memory, of the main process."""


def main(rounds: int = 5, *, steps: int = 500, out: Path = RESULTS) -> None:
    """Times preparation and batches.

    Args:
        rounds: turns of each.
        steps: batches a turn.
        out: folder of the results.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        megabytes = write_corpus(folder)
        job = {"folder": place}
        prepared = measure([Contender(name, "data_worker.py", job) for name in ("tfllm", "datasets")], rounds=rounds)
        sizes = {"batch_size": 16, "steps": steps}
        cases = [{"pipeline": "causal", "sequence_length": length} | sizes for length in (256, 1024)]
        cases += [{"pipeline": name, "sequence_length": 128} | sizes for name in MASKED]
        batched = measure([Contender("batches", "data_worker.py", job)], rounds=rounds, cases=cases)
    whole = Measured(
        samples=prepared.samples + batched.samples,
        ready=prepared.ready | batched.ready,
        first=prepared.first + batched.first,
        skipped=prepared.skipped | batched.skipped,
    )
    result = record(whole, megabytes=megabytes)
    base = prepared.of(contender="datasets")
    result["preparation"] = {name: preparation(prepared.of(contender=name), base, megabytes) for name in prepared.ready}
    result["batches"] = {f"{case['pipeline']}, S {case['sequence_length']}": batches(batched, case) for case in cases}
    write(out, "data_pipeline", result)
    show(out, result)


def write_corpus(folder: Path) -> float:
    """Text, tokenizer and store; megabytes of text."""
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
    tokenizer = train([str(LIBRARY / "[a-j]*.py")], kind="byte_bpe", vocab_size=8192, progress=False)
    tokenizer.save(folder / "tfllm")
    (asset,) = (folder / "tfllm").glob("*.model")
    shutil.copy(asset, folder / "tokenizer.json")
    prepare(str(folder / "text" / "*.txt"), tokenizer, folder / "store", progress=False)
    return size / 1e6


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
