"""Greedy decoding by tfllm and its peers, side by side: equal weights, equal prompts, equal numbers of tokens.

    python benchmarks/decoding.py --model gpt2-small --batches 1 8 32 --rounds 5

Enters: a model (`decoding_models.py` makes its random weights once), batches, contenders. Leaves:
`results/decoding-MODEL.json`, and of all such files `results/decoding.md` and `decoding.png`.

The last contender is the one compared with. Tokens are compared, too: with those of the first contender, in all turns.
`tfllm@FOLDER` is tfllm from another checkout, `NAME@without_onednn` is NAME as TensorFlow runs by itself without VNNI.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, Literal

import tyro
from decoding_models import PROMPT_TOKENS, config_of, make
from harness import Contender, Measured, measure, variant
from report import RESULTS, bars, publish, quartiles, read, record, rows, spread, usage, write

LLAMA_CPP = ("llama-cpp-python==0.3.36", "numpy", "psutil")
LLAMA_CPP_BUILD = (("CMAKE_ARGS", "-DLLAVA_BUILD=OFF -DGGML_NATIVE=ON"), ("CMAKE_BUILD_PARALLEL_LEVEL", "2"))
"""For this processor, and without the part for pictures. Needs cmake and g++."""
TEXT = """\
Written by `decoding.py`. Greedy; tokens/s counts new tokens of all rows, reading the prompts included; medians over rounds,
quartiles in brackets. Ratio: speed over the last contender's of the same run, round by round. Weights GB/s: bytes of weights
times steps a second, beside what one read of memory reaches (limits). Equal: new tokens of a row, on average, before the first
that differs from the first contender's. Cores: processor time over time. Others: cores that other processes took meanwhile.
Peak MB: resident memory."""


def main(
    model: Literal["gpt2-small", "llama-135m", "gpt2-tiny", "llama-tiny"] = "gpt2-small",
    *,
    batches: tuple[int, ...] = (1, 8, 32),
    new: int = 128,
    rounds: int = 5,
    contenders: tuple[str, ...] = (
        *("tfllm", "tfllm_fast_packed_bf16", "tfllm_fast_int8"),
        *("tfllm_saved", "tfllm_saved_bf16", "tfllm_saved_packed", "tfllm_saved_packed_bf16", "tfllm_saved_int8"),
        *("limits", "torch", "llama_cpp", "llama_cpp_f16", "llama_cpp_q8_0", "keras_hub_xla", "keras_hub"),
    ),
    out: Path = RESULTS,
) -> None:
    """Times the decoding of several libraries in turn.

    Args:
        model: sizes of GPT-2 small, or of SmolLM 2 135M, or tiny ones to try things out; weights are random.
        batches: rows at a time; 32 at most.
        new: tokens each row gets.
        rounds: turns of each contender with each batch.
        contenders: any of tfllm, tfllm_fast (`for_inference`), tfllm_fast_packed, tfllm_saved, tfllm_saved_packed, keras_hub,
            keras_hub_xla, torch, each also with _bf16; tfllm_fast_int8, tfllm_saved_int8;
            llama_cpp, llama_cpp_f16, llama_cpp_q8_0; tfllm@FOLDER, NAME@without_onednn; limits, which measures memory. The last
            is compared with, the first's tokens are. All stand in memory together: 24 GB hold those of GPT-2 small that are
            given here.
        out: folder of the results.
    """
    folder = make(model)
    cases = [{"batch": batch, "new": new} for batch in batches]
    measured = measure([contender(name, model, folder) for name in contenders], rounds=rounds, cases=cases)
    count_equal(measured, new)
    result = record(measured, model=model, config=config_of(model).to_dict(), prompt_tokens=PROMPT_TOKENS, new_tokens=new)
    result["batches"] = {str(batch): summaries(measured, model, batch, new) for batch in batches}
    reads = [sample["read_gb_per_second"] for sample in measured.of(contender="limits")]
    result["read_gb_per_second"] = quartiles(reads) if reads else None
    write(out, f"decoding-{model}", result)
    show(out)


def contender(name: str, model: str, folder: Path) -> Contender:
    if name == "limits":
        return Contender(name, "limits_worker.py", {"products": []})
    if name.startswith("llama_cpp"):
        return Contender(name, "decoding_llama.py", {"folder": str(folder)}, LLAMA_CPP, installing=LLAMA_CPP_BUILD)
    script = "decoding_torch.py" if name.startswith("torch") else "decoding_worker.py"
    return Contender(name, script, {"model": model}, **variant(name))


def count_equal(measured: Measured, new: int) -> None:
    """Replaces each turn's `token_ids` by `produced`, and by `equal`: tokens a row before it parts from the first's."""
    known: dict[int, list[list[int]]] = {}
    for sample in [*measured.first, *measured.samples]:
        if "token_ids" not in sample:
            continue
        ids = sample.pop("token_ids")
        wanted = known.setdefault(sample["batch"], ids)
        sample["produced"] = sum(map(len, ids))
        sample["equal"] = statistics.mean(map(common, ids, wanted))
        if sample["produced"] != sample["batch"] * new:
            raise RuntimeError(f"{sample['contender']} gave {sample['produced']} tokens, not {sample['batch']} x {new}")


def common(row: list[int], other: list[int]) -> int:
    """How many tokens two rows have in common from the start.

    >>> common([5, 6, 7, 8], [5, 6, 0, 8])
    2
    """
    pairs = enumerate(zip(row, other, strict=True))
    return next((place for place, (mine, theirs) in pairs if mine != theirs), len(row))


def summaries(measured: Measured, model: str, batch: int, new: int) -> dict[str, dict[str, Any]]:
    """Of every contender but the limits, at one size of batch."""
    names = [name for name in measured.ready if name != "limits"]
    base = measured.of(contender=names[-1], batch=batch) if names else []
    found = {}
    for name in names:
        mine = measured.of(contender=name, batch=batch)
        speeds = [batch * new / sample["wall_seconds"] for sample in mine]
        weights = config_of(model).num_parameters() * bytes_a_weight(name)
        found[name] = usage(mine, base) | {
            "tokens_per_second": quartiles(speeds),
            "weights_gb_per_second": statistics.median(speeds) / batch * weights / 1e9,
            "equal": statistics.mean(sample["equal"] for sample in mine),
            "first_seconds": next(
                sample["wall_seconds"] for sample in measured.first if (sample["contender"], sample["batch"]) == (name, batch)
            ),
        }
    return found


def bytes_a_weight(name: str) -> float:
    """Of the matrices, as they are read at each step."""
    return 34 / 32 if name.endswith("q8_0") else 1 if name.endswith("int8") else 2 if name.endswith(("_bf16", "_f16")) else 4


def show(out: Path) -> None:
    """Table and chart of all results in the folder."""
    results = read(out, "decoding-*")
    header = ("model", "batch", "contender", "tokens/s", "ratio", "weights GB/s", "equal", "cores", "peak MB", "first call, s")
    body, groups = [], {}
    for result in results:
        for batch, summary in result["batches"].items():
            groups[f"{result['model']}, batch {batch}"] = {name: each["tokens_per_second"] for name, each in summary.items()}
            for name, each in summary.items():
                cells = [result["model"], batch, name, spread(each["tokens_per_second"], 1), spread(each["ratio"])]
                cells += [f"{each['weights_gb_per_second']:.1f}", f"{each['equal']:.1f} of {result['new_tokens']}"]
                cells += [f"{each['cores']:.1f}", f"{each['peak_mb']:.0f}", f"{each['first_seconds']:.1f}"]
                body.append([*cells, each["rounds"], f"{each['others']:.1f}"])
    table = rows((*header, "rounds", "others"), body)
    for result in results:
        if result["read_gb_per_second"]:
            read_gb = spread(result["read_gb_per_second"], 1)
            table += ["", f"Limits, measured in the same rounds as {result['model']}: memory is read at {read_gb} GB/s."]
    bars(out / "decoding.png", "Greedy decoding", "new tokens per second", groups)
    publish(out, "decoding", "Decoding side by side", results, text=TEXT.splitlines(), table=table)


if __name__ == "__main__":
    tyro.cli(main)
