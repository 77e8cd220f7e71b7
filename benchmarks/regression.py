"""Is this checkout slower than another one, or does it take more memory?

    git worktree add ../earlier 99bc188
    python benchmarks/regression.py --checkout ../earlier gpt-mini-float32 tfllm_saved

Input: another checkout of this repository, and parts: training steps (SHAPE-PRECISION) or decoding of GPT-2 small (a contender
of `decoding_worker.py`). Output: `results/regression-PART.json`, and of all such files `results/regression.md`.

Three contenders take turns: this checkout, the other one, and the other one again in a second process. The second process is
the control: it shows how far two processes of the same code lie apart. Each checkout runs the workers of its own `benchmarks/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro
from decoding_models import make
from harness import Contender, Measured, measure
from report import RESULTS, publish, read, record, rows, spread, usage, write

NANO = dict(num_layers=4, hidden_size=128, num_heads=4, ffn_size=512, vocab_size=256, sequence_length=64, batch_size=12)
"""What of gpt-mini is another size: so small a model that what an op costs by itself counts."""
TRAINING: dict[str, dict[str, Any]] = {
    **{
        f"{shape}-{precision}": {"shape": shape, "precision": precision, "steps": 2}
        for shape in ("gpt-mini", "gpt2-small", "bert-mini")
        for precision in ("float32", "mixed_bfloat16")
    },
    "gpt-nano-float32": {"shape": "gpt-mini", "changes": NANO, "precision": "float32", "steps": 50},
}
"""Part -> the job of `training_worker.py`."""
DECODING = ("tfllm", "tfllm_fast_packed", "tfllm_fast_int8", "tfllm_saved", "tfllm_saved_packed", "tfllm_saved_int8")
"""Parts: in Python, and from exports."""
CASES = ({"batch": 1, "new": 128}, {"batch": 8, "new": 128})
MEMORY = 1.02
"""How much more memory may be taken."""
TEXT = f"""\
Written by `regression.py`. Time: of a turn over the other checkout's in the same round; medians, quartiles in brackets.
Control: the same of the other checkout in a second process. CPU: the same of processor time, which a busy machine disturbs
less. Slower: the lower quartile of the time is farther above 1 than either quartile of the control is from 1. Peak MB: resident
memory, here and there (the larger of its two processes); larger: more than {MEMORY} times as much. Others: cores that other
processes took meanwhile."""


def main(
    parts: Annotated[tuple[str, ...], tyro.conf.Positional] = (*TRAINING, *DECODING),
    *,
    checkout: Path,
    rounds: int = 8,
    out: Path = RESULTS,
) -> None:
    """Measures this checkout and another one in turn.

    Args:
        parts: training: gpt-mini-float32, gpt-mini-mixed_bfloat16, gpt2-small-…, bert-mini-…, gpt-nano-float32; decoding in
            Python: tfllm, tfllm_fast_packed, tfllm_fast_int8; exports: tfllm_saved, tfllm_saved_packed, tfllm_saved_int8.
        checkout: folder of the other one.
        rounds: turns of each contender.
        out: folder of the results.
    """
    if unknown := set(parts) - {*TRAINING, *DECODING}:
        raise SystemExit(f"parts={sorted(unknown)} is invalid: expected some of {', '.join([*TRAINING, *DECODING])}")
    if not (checkout / "benchmarks" / "turns.py").is_file():
        raise SystemExit(f"checkout={str(checkout)!r} is invalid: expected a checkout of this repository with its benchmarks/")
    for part in parts:
        measured = measure(contenders(part, str(checkout.resolve())), rounds=rounds, cases=cases_of(part))
        for sample in [*measured.first, *measured.samples]:
            sample.pop("token_ids", None)
        summary = [summarized(measured, case) for case in cases_of(part)]
        write(out, f"regression-{part}", record(measured, part=part, summary=summary))
    show(out)


def contenders(part: str, checkout: str) -> list[Contender]:
    """This checkout, the other one, and the other one again."""
    script, name, job = "training_worker.py", "tfllm", TRAINING.get(part)
    if job is None:
        make("gpt2-small")
        script, name, job = "decoding_worker.py", part, {"model": "gpt2-small"}
    return [
        Contender(name, script, job),
        Contender(f"{name}@other", script, job, checkout=checkout),
        Contender(f"{name}@other, again", script, job, checkout=checkout),
    ]


def cases_of(part: str) -> tuple[dict[str, Any], ...]:
    return CASES if part in DECODING else ({},)


def summarized(measured: Measured, case: dict[str, Any]) -> dict[str, Any]:
    if measured.skipped:
        raise SystemExit(f"not all contenders ran: {measured.skipped}")
    here, there, again = (measured.of(contender=name, **case) for name in measured.ready)
    # usage's ratio is of speeds; here it is of times, so the sides are swapped.
    mine, control = usage(there, here), usage(there, again)
    peaks = [usage(here)["peak_mb"], max(usage(each)["peak_mb"] for each in (there, again))]
    return {
        "case": case,
        "time": mine["ratio"],
        "control": control["ratio"],
        "cpu": mine["cpu_ratio"],
        "cpu_control": control["cpu_ratio"],
        "peak_mb": peaks,
        "others": mine["others"],
        "slower": mine["ratio"][0] > max(control["ratio"][2], 1 / control["ratio"][0]),
        "larger": peaks[0] > MEMORY * peaks[1],
    }


def show(out: Path) -> None:
    """The table of all results in the folder."""
    results = read(out, "regression-*")
    header = ("part", "case", "time", "control", "CPU", "CPU, control", "slower", "peak MB", "larger", "others")
    body = []
    for result in results:
        for each in result["summary"]:
            case = ", ".join(f"{key} {value}" for key, value in each["case"].items())
            cells = [result["part"], case, *(spread(each[name]) for name in ("time", "control", "cpu", "cpu_control"))]
            cells += ["yes" if each["slower"] else "no", " / ".join(f"{peak:.0f}" for peak in each["peak_mb"])]
            body.append([*cells, "yes" if each["larger"] else "no", f"{each['others']:.1f}"])
    publish(out, "regression", "This checkout and another one", results, text=TEXT.splitlines(), table=rows(header, body))


if __name__ == "__main__":
    tyro.cli(main)
