"""What each change of docs/performance.md is worth: tfllm with one left out, in turn with tfllm as it is.

    python benchmarks/ablation.py gpt-mini float32

Enters: a shape that is trained (`shapes.py`), or "decoding", in a form or without. Leaves:
`results/ablation-WHAT-PRECISION.json`, and of all such files `results/ablation.md`. What stands in the place of a change:
`plain.py`. Settings of the process are tried the same way.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tyro
from decoding_models import make
from harness import Contender, Measured, measure
from report import RESULTS, publish, read, record, rows, spread, usage, write

FORMULATIONS = ("activation", "norms", "attention", "biases", "loss")
LEFT_OUT: dict[str, tuple[tuple[str, ...], ...]] = {
    "gpt-mini": (
        *((each,) for each in (*FORMULATIONS, "dropout", "blocks", "compiled", "compiled optimizer")),
        FORMULATIONS,
        (*FORMULATIONS, "dropout", "blocks", "compiled"),
    ),
    "gpt-nano": (("compiled",), ("compiled optimizer",)),
    "gpt2-small": (("one chunk",), ("compiled optimizer",)),
    "bert-mini": (("places",),),
    "decoding": (("table",), ("growing cache",), ("log_prob",), ("sizes",)),
    "decoding-int8": (("growing cache",), ("sizes",)),
    "decoding-prepack": (("one branch",),),
}
DECODERS = {"decoding": "tfllm", "decoding-int8": "tfllm_fast_int8", "decoding-prepack": "tfllm_fast_packed"}
"""Of `decoding_worker.py`."""
SETTINGS = {
    "one op at a time": {"TF_NUM_INTEROP_THREADS": "1"},
    "huge pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
}
OF_XLA = {
    "XLA with 512 bits": {"XLA_FLAGS": "--xla_cpu_prefer_vector_width=512"},
    "XLA with fast mathematics": {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true"},
}
"""Training compiles; decoding does not."""
TURNS: tuple[dict[str, Any], ...] = ({"batch": 1, "new": 128}, {"batch": 8, "new": 128}, {"batch": 1, "new": 900, "pieces": 32})
"""Of decoding: all tokens, or the first pieces of a text that might have become longer."""
TOGETHER = 3
"""As many stand in memory beside tfllm as it is, twice."""
TEXT = """\
Written by `ablation.py`: tfllm without a change, or in a process with a setting, beside tfllm as it is. Medians over
rounds, quartiles in brackets. Time: of a step, or of a text, over that of tfllm as it is in the same round; a change is
worth it where that is more than 1. CPU: the same of processor time, which a busy machine disturbs less. Predicted: what
`passes.py`, which times parts alone, lets expect of CPU. Peak MB: resident memory, and that of tfllm as it is."""


def main(
    what: Literal[
        "gpt-nano", "gpt-mini", "gpt2-small", "bert-mini", "decoding", "decoding-int8", "decoding-prepack"
    ] = "gpt-mini",
    precision: Literal["float32", "mixed_bfloat16"] = "float32",
    /,
    *,
    rounds: int = 5,
    steps: int = 2,
    settings: bool = True,
    out: Path = RESULTS,
) -> None:
    """Leaves out one change after the other.

    Args:
        what: the shape that is trained; decoding is that of GPT-2 small in Python, as it is or by `for_inference`, in 8 bits or
            prepacked.
        precision: Keras dtype policy; decoding is float32.
        rounds: turns of each.
        steps: training steps a turn.
        settings: try settings of the process, too.
        out: folder of the results.
    """
    decoding = what in DECODERS
    if decoding and precision != "float32":
        raise ValueError(f"{what} is measured in float32, not in {precision}")
    job = {"model": "gpt2-small"} if decoding else {"shape": what, "precision": precision, "steps": steps}
    if decoding:
        make("gpt2-small")
    script, cases = ("decoding_worker.py", TURNS) if decoding else ("training_worker.py", ({},))
    name = DECODERS.get(what, "tfllm")
    asis = Contender(name, script, job)
    others = [Contender(f"{name}@without {', '.join(each)}", script, job | {"without": each}) for each in LEFT_OUT[what]]
    if settings:
        environs = SETTINGS if decoding else SETTINGS | OF_XLA
        others += [Contender(f"{name}@{each}", script, job, environs=(given,)) for each, given in environs.items()]
    # How far two processes of the same code lie apart: less than that says nothing.
    again = Contender(f"{name}@as it is, again", script, job)
    found = []
    for start in range(0, len(others), TOGETHER):
        measured = measure([asis, again, *others[start : start + TOGETHER]], rounds=rounds, cases=cases)
        for sample in [*measured.first, *measured.samples]:
            for told in ("token_ids", "text"):
                sample.pop(told, None)
        found.append(record(measured, summary=summaries(measured, cases)))
    first = found[0]
    first["skipped"] = {name: why for each in found for name, why in each["skipped"].items()}
    first |= {"what": what, "precision": precision, "steps": steps}
    first |= {key: [each for part in found for each in part[key]] for key in ("summary", "first", "samples")}
    write(out, f"ablation-{what}-{precision}", first)
    show(out)


def summaries(measured: Measured, cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A record for each contender but the first, and case."""
    asis, *names = measured.ready
    found = []
    for case, name in itertools.product(cases, names):
        base, mine = measured.of(contender=asis, **case), measured.of(contender=name, **case)
        # usage's ratio is of speeds: here it is wanted how much longer it takes.
        times = usage(base, mine)
        found.append(
            {
                "left_out": name.partition("@")[2],
                "case": case,
                "time": times["ratio"],
                "cpu": times["cpu_ratio"],
                "step_cpu_seconds": times["cpu_seconds"][1],
                "peak_mb": [usage(each)["peak_mb"] for each in (mine, base)],
                "others": times["others"],
            }
        )
    return found


def show(out: Path) -> None:
    """The table of all results in the folder."""
    results = read(out, "ablation-*")
    saved = {(each["dtype"], each["change"]): each for result in read(out, "passes") for each in result["changes"]}
    body = []
    for result in results:
        for each in result["summary"]:
            case = ", ".join(f"{key} {value}" for key, value in each["case"].items())
            peaks = " / ".join(f"{peak:.0f}" for peak in each["peak_mb"])
            cells = [result["what"], result["precision"], case, each["left_out"], predicted(result, each, saved)]
            body.append([*cells, spread(each["time"]), f"{each['cpu'][1]:.2f}", peaks, f"{each['others']:.1f}"])
    header = ("what", "precision", "turn", "tfllm", "predicted", "time", "CPU", "peak MB", "others")
    publish(out, "ablation", "One change left out", results, text=TEXT.splitlines(), table=rows(header, body))


def predicted(result: dict[str, Any], each: dict[str, Any], saved: dict[tuple[str, str], dict[str, Any]]) -> str:
    """The CPU ratio that `passes.py`, which times parts alone, lets expect of a gpt-mini step; empty where it says nothing."""
    changes = each["left_out"].removeprefix("without ").split(", ")
    dtype = result["precision"].removeprefix("mixed_")
    known = [saved.get((dtype, change)) for change in changes]
    if result["what"] != "gpt-mini" or not all(known):
        return ""
    return f"{1 + sum(one['saved_ms'] for one in known if one) / 1e3 / (each['step_cpu_seconds'] / result['steps']):.2f}"


if __name__ == "__main__":
    tyro.cli(main)
