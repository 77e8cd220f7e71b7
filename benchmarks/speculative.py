"""Speculative decoding beside plain decoding: equal texts, how much sooner, how many drafts were right.

    python benchmarks/speculative.py --batches 1 8 --rounds 5

Enters: nothing (`speculative_models.py` trains the models once, for a quarter of an hour). Leaves: `results/speculative.json`
and `speculative.md`. The models continue beginnings of Python files they have not seen.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import tyro
from harness import Contender, Measured, measure
from report import RESULTS, publish, quartiles, record, rows, spread, usage, write
from speculative_models import MODELS, make

TEXT = """\
Written by `speculative.py`. tokens/s counts new tokens of all rows, reading the prompts included; medians over rounds,
quartiles in brackets. Ratio: speed over the last contender's, round by round; CPU ratio: the same of processor time, which
neighbours disturb less. Accepted: of the tokens drafted. Equal: rows whose tokens are the last contender's. Others: cores that
other processes took meanwhile."""


def main(
    contenders: tuple[str, ...] = ("lookup", "draft", "plain"),
    *,
    batches: tuple[int, ...] = (1, 8),
    temperatures: tuple[float, ...] = (0.0, 0.8),
    drafted: int = 4,
    new: int = 128,
    rounds: int = 5,
    out: Path = RESULTS,
) -> None:
    """Times decoding with and without drafts, in turn.

    Args:
        contenders: any of lookup, draft, plain, each also with _bf16. The last is compared with.
        batches: rows at a time; 32 at most. Each round has other prompts.
        temperatures: of the draws; 0 is greedy.
        drafted: tokens at once.
        new: tokens each row gets.
        rounds: turns of each contender with each case.
        out: folder of the results.
    """
    folder = make()
    cases = [{"batch": batch, "temperature": each, "new": new} for batch in batches for each in temperatures]
    job = {"folder": str(folder), "drafted": drafted}
    measured = measure([Contender(name, "speculative_worker.py", job) for name in contenders], rounds=rounds, cases=cases)
    count_equal(measured)
    result = record(measured, models=MODELS, drafted=drafted, cases=cases)
    write(out, "speculative", result)
    body = [line for case in cases for line in lines(measured, case)]
    header = ("batch", "temperature", "contender", "tokens/s", "ratio", "CPU ratio", "accepted", "equal", "rounds", "others")
    publish(out, "speculative", "Speculative decoding", [result], text=TEXT.splitlines(), table=rows(header, body))


def count_equal(measured: Measured) -> None:
    """Replaces each turn's `token_ids` by `produced` and by `equal`, the share of rows that are the last contender's."""
    last = list(measured.ready)[-1]
    keys = ("round", "batch", "temperature")
    wanted = {tuple(each[key] for key in keys): each["token_ids"] for each in measured.of(contender=last)}
    for sample in measured.first:
        sample.pop("token_ids")
    for sample in measured.samples:
        ids, others = sample["token_ids"], wanted[tuple(sample[key] for key in keys)]
        sample["produced"] = sum(map(len, ids))
        sample["equal"] = statistics.mean(mine == theirs for mine, theirs in zip(ids, others, strict=True))
    for sample in measured.samples:
        del sample["token_ids"]


def lines(measured: Measured, case: dict[str, Any]) -> list[list[Any]]:
    """The table's rows of one case."""
    base = measured.of(contender=list(measured.ready)[-1], **case)
    found = []
    for name in measured.ready:
        mine = measured.of(contender=name, **case)
        each = usage(mine, base)
        drafted, accepted = (sum(sample[key] for sample in mine) for key in ("drafted", "accepted"))
        speed = spread(quartiles([sample["produced"] / sample["wall_seconds"] for sample in mine]), 1)
        share = f"{accepted / drafted:.0%}" if drafted else "-"
        equal = f"{statistics.mean(sample['equal'] for sample in mine):.0%}"
        line = [case["batch"], case["temperature"], name, speed, spread(each["ratio"]), spread(each["cpu_ratio"]), share, equal]
        found.append([*line, each["rounds"], f"{each['others']:.1f}"])
    return found


if __name__ == "__main__":
    tyro.cli(main)
