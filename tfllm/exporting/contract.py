"""What an export promises, as data: its signatures, and a request for each. `docs/serving-contract.md` says it in words.

A task that predicts has one signature, which follows from its `PredictionSpec`; a task with an `ExportSpec` brings its own.
Importing this imports no TensorFlow.
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
"""The name TensorFlow Serving looks for in `EXTRA_FOLDER`."""
DESCRIPTION_FILE = "tfllm.json"


class Signature(NamedTuple):
    """Names and tensors. Outputs that are strings must not end in `_bytes`: TensorFlow Serving would write them in base64."""

    inputs: dict[str, Field]
    outputs: dict[str, Field]


class Contract(NamedTuple):
    """Signatures by name, and one small request for each: warm-up of a server, and the run of `check`."""

    signatures: dict[str, Signature]
    requests: dict[str, dict[str, list]]


def versions(folder: Path) -> list[int]:
    """The numbers of the version folders in `folder`, sorted."""
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.is_dir() and entry.name.isdecimal())


_IDS = Field("int32", "BS")
_SAMPLES = ["", "naïve 中文\n"]

SETTINGS = {each.name: Field(each.number.dtype, "B") for each in PER_ROW}
"""Inputs of `generate`: the settings of which each row may have its own value."""

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
    """The name of a contract in `tfllm.json`: the task's, and whether rows are pairs of texts."""
    return task + _OF_PAIRS * pairs


def contract_names() -> list[str]:
    """Every name that `contract_of` takes."""
    specs = [spec for spec in tasks.all_tasks() if spec.prediction or spec.export]
    pairs = [spec.name for spec in specs if spec.prediction and spec.prediction.takes_pairs]
    return [spec.name for spec in specs] + [contract_name(name, True) for name in pairs]


def contract_of(name: str, generation: Mapping[str, Any] | None = None) -> Contract:
    """The contract of that name, with what the generation config of a causal model's export adds or takes away.

    Args:
        name: one of `contract_names()`.
        generation: `GenerationConfig.to_dict()`, as `tfllm.json` has it. An export that was written before a setting existed
            does not name it here, and does not take it.

    Raises:
        KeyError: there is no such contract.
    """
    if name not in contract_names():
        raise KeyError(name)
    spec = tasks.get(name.removesuffix(_OF_PAIRS))
    if spec.export is None:
        return _prediction_contract(spec, pairs=name.endswith(_OF_PAIRS))
    return tasks.resolve(spec.export.contract)(generation)


def _prediction_contract(spec: TaskSpec, pairs: bool) -> Contract:
    """One signature, "serving_default", that takes strings. Outputs of rows with different numbers of answers are padded."""
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
