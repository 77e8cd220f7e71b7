"""Training steps of tfllm and its peers, side by side, and what the machine's matrix products alone would take.

    python benchmarks/training_step.py --shape gpt-mini --precision float32 --rounds 8

Enters: a shape (`shapes.py`), a precision, contenders. Leaves: `results/training_step-SHAPE-PRECISION.json`, and of all such
files `results/training_step.md` and `training_step.png`.

The last contender is the one compared with. `tfllm@FOLDER` is tfllm from another checkout, to compare two states of the code;
`NAME@without_onednn` is NAME as TensorFlow runs by itself where the processor has no VNNI.
"""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path
from typing import Any, Literal

import tyro
from harness import Contender, Measured, measure, variant
from report import RESULTS, bars, machine, publish, quartiles, read, record, rows, spread, usage, write
from shapes import SHAPES, Shape

TORCH = ("torch_eager", "torch_compile", "nanogpt")
ALL = ("limits", "nanogpt", "torch_compile", "torch_eager", "keras_hub_xla", "tfllm_remat", "tfllm", "keras_hub")
FEWER = {"gpt2-small": ("nanogpt", "keras_hub_xla"), "bert-base": ("keras_hub_xla",)}
"""Left out where nothing is asked for: with them the contenders, who stand in memory together, would not fit 24 GB."""
TEXT = """\
Written by `training_step.py`. Medians over rounds, quartiles in brackets. GFLOP/s counts matrix products only; of GEMM: beside
what TensorFlow's products of the same sizes reach alone, in the same rounds. All of TensorFlow's run oneDNN, as tfllm asks for,
but for those named so. Ratio: speed over the last contender's of the same
run, round by round; CPU: the same of processor time, which a busy machine disturbs less. Cores: processor time over time.
Others: cores that other processes took meanwhile. Peak MB: resident memory."""


def main(
    shape: Literal["gpt-nano", "gpt-mini", "gpt2-small", "bert-mini", "bert-base"] = "gpt-mini",
    precision: Literal["float32", "mixed_bfloat16"] = "float32",
    *,
    rounds: int = 8,
    steps: int = 2,
    contenders: tuple[str, ...] = (),
    out: Path = RESULTS,
) -> None:
    """Times the training steps of several libraries in turn.

    Args:
        shape: sizes of the model and its batch.
        precision: Keras dtype policy; PyTorch's autocast.
        rounds: turns of each contender.
        steps: training steps a turn.
        contenders: any of tfllm, tfllm_remat (blocks computed again in the backward pass), keras_hub, keras_hub_xla,
            keras_hub_no_flash, torch_eager, torch_compile, nanogpt, tfllm@FOLDER, NAME@without_onednn, and limits, which
            measures matrix products and memory; the last is compared with. If none is given: those that fit 24 GB together.
        out: folder of the results.
    """
    sizes = SHAPES[shape]
    contenders = contenders or defaults(shape)
    job = {"shape": shape, "precision": precision, "steps": steps}
    measured = measure([contender(name, job, sizes) for name in contenders], rounds=rounds)
    check_equal(measured)
    result = record(measured, shape=shape, precision=precision, sizes=dataclasses.asdict(sizes), steps=steps)
    result["contenders"] = summaries(measured, sizes, precision, steps)
    result["limits"] = limits(measured)
    write(out, f"training_step-{shape}-{precision}", result)
    show(out)


def defaults(shape: str) -> tuple[str, ...]:
    """Those that fit 24 GB together; where TensorFlow runs no oneDNN by itself, two also without it."""
    fewer = FEWER.get(shape)
    if fewer is None and not {"avx_vnni", "avx512_vnni"}.intersection(machine()["vectors"]):
        return ("tfllm@without_onednn", "keras_hub@without_onednn", *ALL)
    return tuple(name for name in ALL if name not in (fewer or ()))


def contender(name: str, job: dict[str, Any], sizes: Shape) -> Contender:
    if name == "limits":
        return Contender(name, "limits_worker.py", {"products": [[*size, count] for size, count in sizes.products().items()]})
    script = "training_torch.py" if name in TORCH else "training_worker.py"
    return Contender(name, script, job, **variant(name))


def check_equal(measured: Measured) -> None:
    """All train as many parameters."""
    counts = {name: ready["parameters"] for name, ready in measured.ready.items() if "parameters" in ready}
    if len(set(counts.values())) > 1:
        raise RuntimeError(f"the contenders' models differ: {counts} parameters")


def summaries(measured: Measured, sizes: Shape, precision: str, steps: int) -> dict[str, dict[str, Any]]:
    """Of every contender but the limits."""
    names = [name for name in measured.ready if name != "limits"]
    base = measured.of(contender=names[-1]) if names else []
    key = "step_gemm_bfloat16" if precision == "mixed_bfloat16" else "step_gemm_float32"
    gemm = [sample[key] for sample in measured.of(contender="limits")]
    found = {}
    for name in names:
        mine = measured.of(contender=name)
        speeds = [sizes.tokens() * steps / sample["wall_seconds"] for sample in mine]
        gflops = [speed * sizes.flops() / sizes.tokens() / 1e9 for speed in speeds]
        found[name] = usage(mine, base) | {
            "tokens_per_second": quartiles(speeds),
            "best_tokens_per_second": max(speeds),
            "gflop_per_second": statistics.median(gflops),
            "of_gemm": statistics.median(x / limit for x, limit in zip(gflops, gemm, strict=True)) if gemm else None,
            "loss": mine[-1]["loss"],
        }
    return found


def limits(measured: Measured) -> dict[str, Any]:
    """Quartiles of what `limits_worker.py` found, by kind."""
    samples = measured.of(contender="limits")
    kinds = [key for key in (samples[0] if samples else {}) if "gemm" in key or key == "read_gb_per_second"]
    return {kind: quartiles([sample[kind] for sample in samples]) for kind in kinds}


def show(out: Path) -> None:
    """Table and chart of all results in the folder."""
    results = read(out, "training_step-*")
    header = ("shape", "precision", "contender", "tokens/s", "GFLOP/s", "of GEMM", "ratio", "CPU", "cores", "peak MB", "loss")
    body, limited = [], []
    for result in results:
        for name, each in result["contenders"].items():
            cells = [result["shape"], result["precision"], name, spread(each["tokens_per_second"], 0)]
            cells += [f"{each['gflop_per_second']:.0f}", "" if each["of_gemm"] is None else f"{each['of_gemm']:.0%}"]
            cells += [spread(each["ratio"]), f"{each['cpu_ratio'][1]:.2f}", f"{each['cores']:.1f}", f"{each['peak_mb']:.0f}"]
            body.append([*cells, f"{each['loss']:.3f}", each["rounds"], f"{each['others']:.1f}"])
        found = {kind: spread(values, 0) for kind, values in result["limits"].items()}
        if found:
            limited.append([result["shape"], result["precision"], *found.values()])
    table = rows((*header, "rounds", "others"), body)
    if limited:
        kinds = ("read GB/s", "4096x768x3072 f32", "the step's f32", "4096x768x3072 bf16", "the step's bf16")
        table += ["", "Limits, measured in the same rounds: reading memory, and TensorFlow's products alone (GFLOP/s):", ""]
        table += rows(("shape", "precision", *kinds), limited)
    groups = {
        f"{result['shape']}, {result['precision']}": {
            name: each["tokens_per_second"] for name, each in result["contenders"].items()
        }
        for result in results
    }
    bars(out / "training_step.png", "Training steps", "tokens per second", groups)
    publish(out, "training_step", "Training steps side by side", results, text=TEXT.splitlines(), table=table)


if __name__ == "__main__":
    tyro.cli(main)
