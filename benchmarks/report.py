"""What is said of the samples: medians and quartiles, tables, charts, and what machine and versions they hold for.

Enters: records of turns (`harness.Measured`). Leaves: `results/NAME.json` with every sample, `NAME.md`, `NAME.png`.
"""

from __future__ import annotations

import json
import platform
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from harness import HERE, Measured

from tfllm.files import write_atomically

FORMAT = 2
VECTORS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
Sample = dict[str, Any]
Quartiles = list[float]


def quartiles(values: Sequence[float]) -> Quartiles:
    """Lower quartile, median, upper quartile.

    >>> quartiles([5.0, 1.0, 3.0, 2.0, 4.0])
    [2.0, 3.0, 4.0]
    """
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3


def usage(mine: Sequence[Sample], base: Sequence[Sample] = ()) -> dict[str, Any]:
    """What turns took, and how much faster they were than the same rounds' turns of another contender.

    Both do the same work in a turn, so the ratio of speeds is that of seconds.
    """
    found: dict[str, Any] = {
        "rounds": len(mine),
        "wall_seconds": quartiles([sample["wall_seconds"] for sample in mine]),
        "cpu_seconds": quartiles([sample["cpu_seconds"] for sample in mine]),
        "cores": statistics.median(sample["cpu_seconds"] / sample["wall_seconds"] for sample in mine),
        "others": statistics.median(sample["others_cpu_seconds"] / sample["wall_seconds"] for sample in mine),
        "peak_mb": max(sample["peak_mb"] for sample in mine),
    }
    if base:
        pairs = [*zip(mine, base, strict=True)]
        found["ratio"] = quartiles([other["wall_seconds"] / sample["wall_seconds"] for sample, other in pairs])
        found["cpu_ratio"] = quartiles([other["cpu_seconds"] / sample["cpu_seconds"] for sample, other in pairs])
    return found


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    path = Path("/proc/cpuinfo")
    lines = [line.split(":", 1) for line in path.read_text().splitlines() if ":" in line] if path.exists() else []
    facts = {name.strip(): value.strip() for name, value in lines}
    return {
        "cpu": facts.get("model name", platform.processor()),
        "vectors": [name for name in VECTORS if name in facts.get("flags", "").split()],
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


RESULTS = HERE / "results" if "avx512f" in machine()["vectors"] else HERE / "results" / "without_avx512"
"""Figures of processors with AVX-512 and without have a folder each."""


def record(measured: Measured, **settings: Any) -> dict[str, Any]:
    """What a result file opens with."""
    ready = {name: {key: value for key, value in each.items() if key != "versions"} for name, each in measured.ready.items()}
    return {
        "format": FORMAT,
        "command": "python benchmarks/" + shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "machine": machine(),
        "versions": measured.versions(),
        **settings,
        "skipped": measured.skipped,
        "ready": ready,
        "first": measured.first,
        "samples": measured.samples,
    }


def write(out: Path, name: str, result: dict[str, Any]) -> None:
    """The result as `out/NAME.json`."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / f"{name}.json", [(json.dumps(result, indent=1) + "\n").encode()])


def read(out: Path, pattern: str) -> list[dict[str, Any]]:
    """All results of that name, by name. Those of an older format are passed over, which is said."""
    results = {path: json.loads(path.read_text()) for path in sorted(out.glob(f"{pattern}.json"))}
    for path, result in results.items():
        if result.get("format") != FORMAT:
            print(f"{path} is of an older format: measure it anew to have it in the table", file=sys.stderr)
    return [result for result in results.values() if result.get("format") == FORMAT]


def publish(
    out: Path, name: str, title: str, results: Sequence[dict[str, Any]], *, text: Sequence[str], table: Sequence[str]
) -> None:
    """`out/NAME.md`: the text, the table, who was left out, machines, versions and commands. Prints it, too."""
    skipped = {(name, why) for result in results for name, why in result["skipped"].items()}
    told = [f"Left out: `{name}`: {why}" for name, why in sorted(skipped)]
    held = sorted({json.dumps(result["machine"]) + ", " + json.dumps(result["versions"]) for result in results})
    commands = sorted({result["command"] for result in results})
    picture = [f"![{title}]({name}.png)", ""] if (out / f"{name}.png").exists() else []
    lines = [f"# {title}", "", *text, "", *picture, *table, "", *told, *([""] * bool(told))]
    lines += [*(f"Machine and versions: `{each}`" for each in held), "", *(f"- `{command}`" for command in commands), ""]
    write_atomically(out / f"{name}.md", ["\n".join(lines).encode()])
    print("\n".join(lines))


def rows(header: Sequence[str], body: Sequence[Sequence[Any]]) -> list[str]:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *body]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def spread(values: Quartiles | None, digits: int = 2) -> str:
    """Median, and the quartiles in brackets.

    >>> spread([0.9, 1.0, 1.25])
    '1.00 (0.90 to 1.25)'
    """
    if values is None:
        return ""
    low, middle, high = (f"{value:.{digits}f}" for value in values)
    return f"{middle} ({low} to {high})"


def bars(path: Path, title: str, unit: str, groups: dict[str, dict[str, Quartiles]]) -> None:
    """A PNG: a panel a group, in it a bar a contender as long as the median, with its quartiles."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sizes = [len(group) for group in groups.values()]
    figure, axes = pyplot.subplots(
        len(groups), 1, figsize=(8, 0.7 * len(groups) + 0.28 * sum(sizes) + 0.6), squeeze=False, height_ratios=sizes
    )
    for axis, (name, group) in zip(axes[:, 0], groups.items(), strict=True):
        middles = [values[1] for values in group.values()]
        errors = [[values[1] - values[0] for values in group.values()], [values[2] - values[1] for values in group.values()]]
        colours = ["tab:orange" if label.startswith("tfllm") else "tab:blue" for label in group]
        drawn = axis.barh(list(group), middles, xerr=errors, color=colours, height=0.7, error_kw={"elinewidth": 0.8})
        axis.bar_label(drawn, [f" {middle:.3g}" for middle in middles], fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.1)
        axis.set_title(name, fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel(unit, fontsize=9)
    figure.suptitle(title, fontsize=11)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)
