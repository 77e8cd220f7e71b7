"""Bulk tokenization beside `tokenizers` and `sentencepiece` used directly, all of them on all cores.

    python benchmarks/bulk.py --rounds 6

Enters: "files", the running Python's standard library file by file, some megabytes a turn; "short lines" of Django's
translations into about a hundred languages. Each text is given once. Leaves: `results/bulk.json`, `bulk.md`, `bulk.png`.

Every peer is taken with threads of its own, and as one process a core; tfllm is, too. Vocabularies are tokenization.py's.
The ids of all are compared, text by text.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from harness import Contender, Measured, measure
from report import RESULTS, bars, publish, record, rows, spread, usage, write
from tokenization import LIBRARY, merged, short_lines, speeds, write_vocabulary

PEERS = {"byte_bpe": "tokenizers", "wordpiece": "tokenizers", "unigram": "sentencepiece"}
TEXT = """\
Written by `bulk.py`. A turn is some megabytes of text never seen before, on all cores: on threads, or (processes) as one
process a core, which keeps its ids. Arrays: an array of ids a text, as tfllm gives them; else what the library gives, lists or
objects. Medians over rounds, quartiles in brackets; ratio: over the best row that is not tfllm's, round by round. Cores:
processor time over time. Others: cores that other processes took meanwhile. Peak MB: resident memory. The ids of all
contenders are equal, text by text."""


def main(rounds: int = 6, *, kinds: tuple[str, ...] = ("byte_bpe", "wordpiece", "unigram"), out: Path = RESULTS) -> None:
    """Times tokenizers in turn.

    Args:
        rounds: turns of each contender on each text.
        kinds: any of byte_bpe, wordpiece, unigram.
        out: folder of the results.
    """
    found = {}
    with tempfile.TemporaryDirectory() as place:
        texts = {"files": parts(files(), rounds + 1), "short lines": parts(short_lines("django/"), rounds + 1)}
        for kind in kinds:
            folder = Path(place, kind)
            folder.mkdir()
            (folder / "texts.json").write_text(json.dumps(texts))
            write_vocabulary(kind, folder)
            found[kind] = measure(contenders(kind, folder), rounds=rounds, cases=[{"text": text} for text in texts])
            check(kind, found[kind])
    result = record(merged(found), kinds=list(found))
    result["contenders"] = {kind: {text: summaries(each, text) for text in texts} for kind, each in found.items()}
    write(out, "bulk", result)
    show(out, result)


def files() -> list[str]:
    """Of the half of the library that no vocabulary was trained on, those that are UTF-8."""
    paths = [path for path in sorted(LIBRARY.rglob("[!a-j]*.py")) if "site-packages" not in path.parts]
    return [text for path in paths if "\ufffd" not in (text := path.read_text(errors="replace")) and text]


def parts(texts: list[str], count: int) -> list[list[str]]:
    """As many lists of about as much text, in an order of chance."""
    random.Random(0).shuffle(texts)
    return [texts[start::count] for start in range(count)]


def contenders(kind: str, folder: Path) -> list[Contender]:
    job = {"kind": kind, "folder": str(folder)}
    made = []
    for library in ("tfllm", PEERS[kind]):
        for arrays in (True, False) if library != "tfllm" else (True,):
            name = f"{library}, arrays" if arrays else library
            made += [Contender(name, "bulk_worker.py", job | {"library": library, "arrays": arrays})]
            made += [processes(f"{name}, processes", job | {"library": library, "arrays": arrays})]
    return made


def processes(name: str, job: dict[str, Any]) -> Contender:
    """One a core, each with its part of the texts."""
    cores = os.cpu_count() or 1
    each = tuple({"PART": str(part), "PARTS": str(cores), "TOKENIZERS_PARALLELISM": "false"} for part in range(cores))
    return Contender(name, "bulk_worker.py", job, environs=each)


def check(kind: str, measured: Measured) -> None:
    """All gave the same ids in each round."""
    for number in {sample["round"] for sample in measured.samples}:
        for text in {sample["text"] for sample in measured.samples}:
            sums = {each["contender"]: (each["ids"], each["checksum"]) for each in measured.of(round=number, text=text)}
            if len(set(sums.values())) > 1:
                raise SystemExit(f"{kind}, {text}, round {number}: the ids differ: {sums}")


def summaries(measured: Measured, text: str) -> dict[str, dict[str, Any]]:
    samples = {name: measured.of(contender=name, text=text) for name in measured.ready}
    medians = {name: speeds(mine)["mb_per_second"][1] for name, mine in samples.items() if not name.startswith("tfllm")}
    best = samples[max(medians, key=medians.__getitem__)]
    return {name: usage(mine, best) | speeds(mine) for name, mine in samples.items()}


def show(out: Path, result: dict[str, Any]) -> None:
    header = ("kind", "text", "contender", "MB/s", "ratio", "cores", "peak MB", "rounds", "others")
    body: list[Sequence[Any]] = []
    groups = {}
    for kind, texts in result["contenders"].items():
        for text, found in texts.items():
            groups[f"{kind}, {text}"] = {name: each["mb_per_second"] for name, each in found.items()}
            for name, each in found.items():
                cells = [kind, text, name, spread(each["mb_per_second"], 1), spread(each["ratio"])]
                body.append([*cells, f"{each['cores']:.1f}", f"{each['peak_mb']:.0f}", each["rounds"], f"{each['others']:.1f}"])
    bars(out / "bulk.png", "Bulk tokenization", "MB of UTF-8 per second", groups)
    publish(out, "bulk", "Bulk tokenization side by side", [result], text=TEXT.splitlines(), table=rows(header, body))


if __name__ == "__main__":
    tyro.cli(main)
