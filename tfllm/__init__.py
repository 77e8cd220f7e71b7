"""tfllm: language models in TensorFlow, from raw text to a SavedModel that takes and returns strings.

Every public name is loaded when it is first used, so `import tfllm` costs nothing and imports no TensorFlow.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tfllm import lazy

__version__ = "0.1.0"

_MODULES = (
    "data",
    "exporting",
    "features",
    "finetuning",
    "generation",
    "interop",
    "launching",
    "layers",
    "models",
    "prediction",
    "pretraining",
    "tokenizers",
    "train",
)
_HOMES = {
    "ModelConfig": "tfllm.config",
    "RopeScaling": "tfllm.config",
    "preset": "tfllm.presets",
    "preset_names": "tfllm.presets",
    "CausalLM": "tfllm.models",
    "MaskedLM": "tfllm.models",
    "QuestionAnswerer": "tfllm.models",
    "TextClassifier": "tfllm.models",
    "TextEmbedder": "tfllm.models",
    "TextRegressor": "tfllm.models",
    "TokenClassifier": "tfllm.models",
    "for_inference": "tfllm.models",
    "load": "tfllm.models",
    "save": "tfllm.models",
    "GenerationConfig": "tfllm.generation",
    "generate": "tfllm.generation",
    "score": "tfllm.generation",
    "stream": "tfllm.generation",
    "from_huggingface": "tfllm.interop",
    "from_keras_hub": "tfllm.interop",
    "to_huggingface": "tfllm.interop",
    "Pretraining": "tfllm.settings",
    "Finetuning": "tfllm.settings",
    "pretrain": "tfllm.pretraining",
    "finetune": "tfllm.finetuning",
    "predict": "tfllm.prediction",
    "export": "tfllm.exporting",
    "check": "tfllm.exporting",
    **{name: f"tfllm.{name}" for name in _MODULES},
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from tfllm.config import ModelConfig, RopeScaling
    from tfllm.exporting import check, export
    from tfllm.finetuning import finetune
    from tfllm.generation import GenerationConfig, generate, score, stream
    from tfllm.interop import from_huggingface, from_keras_hub, to_huggingface
    from tfllm.models import (
        CausalLM,
        MaskedLM,
        QuestionAnswerer,
        TextClassifier,
        TextEmbedder,
        TextRegressor,
        TokenClassifier,
        for_inference,
        load,
        save,
    )
    from tfllm.prediction import predict
    from tfllm.presets import preset, preset_names
    from tfllm.pretraining import pretrain
    from tfllm.settings import Finetuning, Pretraining


def _ask_for_onednn() -> None:
    """oneDNN multiplies sooner on all x86 processors. Without VNNI TensorFlow runs it if it was told so before its import."""
    if os.uname().machine == "x86_64" and os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1") == "1":
        port = sys.modules.get("tensorflow.python.util._pywrap_util_port")
        if port is not None and not port.IsMklEnabled():
            warnings.warn(
                "TensorFlow was imported without oneDNN, which makes training and decoding faster on this processor: "
                "import tfllm before it, or set TF_ENABLE_ONEDNN_OPTS=1 (0 leaves it off, without this warning)",
                stacklevel=3,
            )


def _refuse_other_backends() -> None:
    """Keras takes its backend from KERAS_BACKEND, else from its keras.json, once and for all when it is imported.

    Raises:
        ImportError: it is, or will be, another than TensorFlow.
    """
    variable = os.environ.get("KERAS_BACKEND")
    home = os.path.expanduser("~")  # noqa: PTH111 - as Keras does: Path.home() fails where a container's user has none
    usual = Path(home if os.access(home, os.W_OK) else "/tmp") / ".keras"
    file = Path(os.path.expanduser(os.environ.get("KERAS_HOME") or usual)) / "keras.json"  # noqa: PTH111
    remedy = "set the environment variable KERAS_BACKEND=tensorflow before Python starts"
    if (keras := sys.modules.get("keras")) is not None and hasattr(keras, "config"):
        backend, source = keras.config.backend(), "keras was imported before tfllm, and"
    elif variable:
        backend, source = variable, f"KERAS_BACKEND={variable}:"
        remedy += ", or unset it"
    else:
        try:
            backend = json.loads(file.read_text()).get("backend", "tensorflow")
        except (OSError, ValueError, AttributeError):  # as Keras goes on without it
            return
        source = f"{file}:"
        remedy += f', or write "backend": "tensorflow" in {file}'
    if backend != "tensorflow":
        raise ImportError(f"{source} Keras runs on {backend}, and tfllm's models are TensorFlow's: {remedy}")


_refuse_other_backends()
_ask_for_onednn()


__getattr__ = lazy.attributes("tfllm", _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
