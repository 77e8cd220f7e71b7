"""The contract of an export: its signatures, and a small request to each. `docs/serving-contract.md` describes it.

In: the name of a task. Out: a `Contract`. A task that predicts has one signature, which is derived from its `PredictionSpec`.
A task with an `ExportSpec` defines its own signatures. This module does not import TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tfllm import tasks
from tfllm.generation.config import PER_ROW
from tfllm.tasks.spec import REAL, TEXT, WHOLE, Field, TaskSpec

EXTRA_FOLDER = "assets.extra"
WARM_UP_FILE = "tf_serving_warmup_requests"
"""TensorFlow Serving looks for a file of this name in `EXTRA_FOLDER`."""
DESCRIPTION_FILE = "tfllm.json"


class Signature(NamedTuple):
    """Inputs and outputs by name. No string's name may end in `_bytes`: TensorFlow Serving would encode it in base64."""

    inputs: dict[str, Field]
    outputs: dict[str, Field]


class Contract(NamedTuple):
    """Signatures by name, and one small request to each. A server's warm-up and `check` send these requests."""

    signatures: dict[str, Signature]
    requests: dict[str, dict[str, list]]


def versions(folder: Path) -> list[int]:
    """Version numbers of the folders in `folder`, sorted."""
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.is_dir() and entry.name.isdecimal())


_IDS = Field("int32", "BS")
_SAMPLES = ["", "naïve 中文\n"]

SETTINGS = {each.name: Field(each.number.dtype, "B") for each in PER_ROW}
"""Inputs of `generate`: the settings that may differ between rows."""

_CAUSAL_LM = Contract(
    {
        "serving_default": Signature({"prompt": TEXT}, {"text": TEXT}),
        "generate": Signature(
            {"prompt": TEXT} | SETTINGS,
            {"text": TEXT, "token_ids": _IDS, "log_probs": Field("float32", "BS"), "num_tokens": WHOLE},
        ),
        "score": Signature({"text": TEXT}, {"log_prob": REAL, "num_tokens": WHOLE, "num_bytes": WHOLE}),
        "tokenize": Signature({"text": TEXT}, {"token_ids": _IDS, "num_tokens": WHOLE}),
        "detokenize": Signature({"token_ids": _IDS, "num_tokens": WHOLE}, {"text": TEXT}),
    },
    {
        "serving_default": {"prompt": ["The", ""]},
        "generate": {"prompt": ["", "def "]} | {each.name: list(each.sample_rows) for each in PER_ROW},
        "score": {"text": _SAMPLES},
        "tokenize": {"text": _SAMPLES},
        "detokenize": {"token_ids": [[0, 0], [5, 6]], "num_tokens": [0, 2]},
    },
)


_OF_PAIRS = " of pairs"


def contract_name(task: str, pairs: bool) -> str:
    """The name of a contract in `tfllm.json`: the task's name, with " of pairs" if the model reads pairs of texts."""
    return task + _OF_PAIRS * pairs


def contract_names() -> list[str]:
    """All names that `contract_of` accepts."""
    specs = [spec for spec in tasks.all_tasks() if spec.prediction or spec.export]
    pairs = [spec.name for spec in specs if spec.prediction and spec.prediction.takes_pairs]
    return [spec.name for spec in specs] + [contract_name(name, True) for name in pairs]


def contract_of(name: str, generation: Mapping[str, Any] | None = None) -> Contract:
    """The contract with this name.

    Args:
        name: one of `contract_names()`.
        generation: of a causal model's export: `GenerationConfig.to_dict()`, which `tfllm.json` holds. It can add outputs. A
            setting that is not in it existed only after the export was written, so the export has no such input.

    Raises:
        KeyError: there is no contract with this name.
    """
    if name not in contract_names():
        raise KeyError(name)
    spec = tasks.get(name.removesuffix(_OF_PAIRS))
    if spec.export is None:
        return _prediction_contract(spec, pairs=name.endswith(_OF_PAIRS))
    return tasks.resolve(spec.export.contract)(generation)


def _prediction_contract(spec: TaskSpec, pairs: bool) -> Contract:
    """One signature, "serving_default", whose inputs are strings."""
    assert spec.prediction is not None
    request = {name: list(values) for name, values in spec.prediction.inputs.items()}
    request |= {"text_pair": ["yes", ""]} if pairs else {}
    signature = Signature(dict.fromkeys(request, TEXT), dict(spec.prediction.outputs))
    return Contract({"serving_default": signature}, {"serving_default": request})


def generation_contract(generation: Mapping[str, Any] | None) -> Contract:
    """The contract of a causal model's export with a `GenerationConfig`, as a dict; None: one with every setting."""
    if generation is None:
        return _CAUSAL_LM
    searches = generation.get("num_beams", 1) > 1 or generation.get("penalty_alpha")
    taken = {each.name for each in PER_ROW if each.name in generation and not (searches and each.only_for_draws)}
    inputs, outputs = _CAUSAL_LM.signatures["generate"]
    inputs = {name: field for name, field in inputs.items() if name in taken or name not in SETTINGS}
    if generation.get("top_log_probs"):
        outputs = outputs | {"top_token_ids": Field("int32", "BSK"), "top_log_probs": Field("float32", "BSK")}
    if generation.get("num_beams", 1) > 1:
        outputs = outputs | {"score": REAL}
    if generation.get("num_draft_tokens"):
        outputs = outputs | {"num_draft_tokens": WHOLE, "num_accepted_tokens": WHOLE}
    request = {name: values for name, values in _CAUSAL_LM.requests["generate"].items() if name in inputs}
    signatures = _CAUSAL_LM.signatures | {"generate": Signature(inputs, outputs)}
    return Contract(signatures, _CAUSAL_LM.requests | {"generate": request})
