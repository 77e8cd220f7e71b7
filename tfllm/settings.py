"""Settings of training as two frozen dataclasses, which `tfllm.pretrain`, `tfllm.finetune` and the command line take.

Input: values. Output: the same values with names, defaults and descriptions. Imports no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar

from tfllm.deprecation import renamed_arguments
from tfllm.representation import settings_line

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

StrategyName = Literal["auto", "one", "mirrored", "multi_worker", "parameter_server", "tpu", "tensor_parallel"]
"""Where a model trains: see `tfllm.train.strategy`."""


@renamed_arguments({"mask_share": "mask_rate"}, values={"pairs": {"next": "nsp", "order": "sop"}})
@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretraining:
    """How to pretrain. Those of masks and pairs are for encoders."""

    epochs: int = 10
    """Epochs in all; each ends with a checkpoint and a validation."""
    steps_per_epoch: int = 100
    """Steps (batches) between two checkpoints."""
    batch_size: int = 16
    """Rows of a batch."""
    sequence_length: int = 256
    """Tokens of a row."""
    optimizer: Literal["adamw", "muon", "lion"] = "adamw"
    """adamw, muon (fewer steps for the same loss), or lion."""
    learning_rate: float = 1e-3
    """Highest learning rate."""
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """Course of the learning rate after the warm-up."""
    warmup_steps: int | None = None
    """Steps in which the learning rate rises; a tenth of all, at most 100, unless given."""
    decay_steps: int | None = None
    """wsd: steps in which the learning rate falls at the end; a fifth of all unless given."""
    final_fraction: float | None = None
    """Learning rate at the end, as a share of the highest; 0.1 unless given. Not of a constant schedule."""
    weight_decay: float = 0.1
    """Decoupled weight decay, on matrices only."""
    beta_1: float | None = None
    """Of the mean of gradients; 0.9 unless given."""
    beta_2: float | None = None
    """Of the mean of their squares (adamw, muon), 0.95 unless given; of lion's momentum, 0.99."""
    epsilon: float | None = None
    """adamw, muon: added to the root of the mean of squares; 1e-8 unless given."""
    momentum: float | None = None
    """muon: of the matrices' gradients; 0.95 unless given."""
    clip_norm: float | None = 1.0
    """Largest norm of the gradient of a step; it is scaled down to it. None: any."""
    gradient_accumulation: int = 1
    """Parts a batch is computed in, for less memory."""
    document_masks: bool = False
    """Keep documents that share a row from seeing each other."""
    mask_rate: float = 0.15
    """Of the tokens, how many are hidden."""
    mask_unit: Literal["token", "word", "span"] = "token"
    """What is hidden together."""
    pairs: Literal["none", "nsp", "sop"] = "none"
    """Learn from two texts a row: nsp, whether the second follows the first; sop, in which order they stand."""
    dtype: Literal["auto", "float32", "mixed_bfloat16"] = "float32"
    """mixed_bfloat16 is faster where the devices have it, and there auto is that."""
    seed: int = 0
    """Of first weights, batches and dropout."""
    validation_steps: int = 50
    """Most batches of held-out documents scored at the end of each epoch."""
    samples_every: int | None = None
    """Epochs between two sets of samples for TensorBoard; unless given, at least 500 steps lie between two."""

    __repr__ = settings_line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetuning:
    """How to fine-tune; the defaults are near Devlin et al. 2018, appendix A.3."""

    epochs: int = 3
    """Times that every row is seen; each ends with a checkpoint and an evaluation."""
    batch_size: int = 32
    """Rows of a batch."""
    learning_rate: float = 5e-5
    """Highest learning rate."""
    warmup: float = 0.1
    """Share of all steps in which the learning rate rises; then it falls in a line to 0."""
    weight_decay: float = 0.01
    """Decoupled weight decay, on matrices only."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each block to the one below (0.8 to 0.95 help on small data)."""
    freeze: int | None = None
    """Keep the embeddings and so many blocks above them as they are; 0 keeps the embeddings only."""
    class_weights: bool = False
    """Count rare classes as much as frequent ones."""
    gradient_accumulation: int = 1
    """Parts a batch is computed in, for less memory."""
    seed: int = 0
    """Of the order of the rows and of dropout."""
    label_smoothing: float = 0.0
    """Classification: share of the label's probability spread over all."""
    temperature: float = 0.05
    """Embedding: cosines are divided by it."""
    patience: int | None = None
    """Stop after so many epochs without a better one."""
    best: str | None = None
    """The validation measure whose best epoch is kept; the task's own unless given."""
    samples_every: int | None = None
    """Epochs between two pictures for TensorBoard; unless given, at least 500 steps lie between two."""

    __repr__ = settings_line


def takes_settings(settings: type) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorates a function with a `settings` argument: a setting that is given as an argument of its own gets advice.

    finetune(…, epochs=3)
    ->  TypeError: finetune(epochs=3) is invalid: expected among the settings. Give settings=tfllm.Finetuning(epochs=3)
    """
    names = {field.name for field in dataclasses.fields(settings)}

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        own = inspect.signature(function).parameters

        @functools.wraps(function)
        def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            misplaced: dict[str, Any] = {name: value for name, value in kwargs.items() if name in names and name not in own}
            if misplaced:
                given = ", ".join(f"{name}={value!r:.80}" for name, value in misplaced.items())
                raise TypeError(
                    f"{function.__name__}({given}) is invalid: expected as a part of settings. Give "
                    f"settings=tfllm.{settings.__name__}({given})."
                )
            return function(*args, **kwargs)

        return checked

    return decorate
