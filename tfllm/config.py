"""The architecture of a model: one frozen record, `ModelConfig`, from which every model of the package is built.

In: numbers and names, or the JSON that `save` wrote. Out: a validated `ModelConfig`, its number of parameters and of
floating-point operations by arithmetic, and its JSON.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from tfllm.files import write_atomically
from tfllm.representation import settings_line

Norm = Literal["layer", "rms"]
NormPlace = Literal["pre", "post"]
Positions = Literal["learned", "sinusoidal", "rotary"]
Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Llama 3's stretching of rotary frequencies (Grattafiori et al. 2024, as published with Llama 3.1).

    Wavelengths longer than `original_max_length / low_frequency_factor` are stretched by `factor`, those shorter than
    `original_max_length / high_frequency_factor` stay, those between are interpolated.
    """

    factor: float
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_max_length: int = 8192

    def __post_init__(self) -> None:
        for name in ("factor", "original_max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"rope_scaling: {name}={getattr(self, name)!r} is invalid: expected a number from 1 on.")
        if not 0 < self.low_frequency_factor < self.high_frequency_factor:
            raise ValueError(
                f"rope_scaling: low_frequency_factor={self.low_frequency_factor!r} is invalid: expected a number above 0 and "
                f"below high_frequency_factor={self.high_frequency_factor!r}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The architecture of a Transformer. Lengths are in tokens, sizes in units, rates in [0, 1).

    Raises:
        ValueError: a field has a value no model can be built from; the message names it and what it accepts.
    """

    vocab_size: int
    """V: entries of the vocabulary."""
    max_length: int
    """Longest sequence the model is meant for; a hard limit only with learned positions."""
    num_layers: int
    hidden_size: int
    """D."""
    num_heads: int
    """N."""
    num_kv_heads: int = 0
    """K: key and value heads, a divisor of `num_heads` (Ainslie et al. 2023). 0: as many as `num_heads`."""
    head_dim: int = 0
    """H. 0: `hidden_size / num_heads`."""
    ffn_size: int = 0
    """F: width inside the feed-forward layer. 0: `4 * hidden_size`."""

    causal: bool = True
    """A token sees those before it (decoders). Off: all of its text (encoders)."""
    num_types: int = 0
    """Kinds of text told apart by an embedding: BERT's first and second text are 2. 0: none."""
    norm: Norm = "layer"
    norm_place: NormPlace = "pre"
    embedding_norm: bool = False
    """Normalise the sum of the embeddings (Devlin et al. 2018)."""
    norm_epsilon: float = 1e-5
    positions: Positions = "learned"
    position_offset: int = 0
    """Rows of the table of learned positions before that of position 0; RoBERTa's has 2."""
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    activation: Activation = "gelu_tanh"
    gated_ffn: bool = False
    """Feed-forward with a gate, as SwiGLU (Shazeer 2020): three matrices in place of two."""
    qkv_bias: bool = True
    attention_output_bias: bool = True
    ffn_bias: bool = True
    qk_norm: bool = False
    """Normalise queries and keys per head before their product (Henry et al. 2020, Dehghani et al. 2023)."""
    sliding_window: int = 0
    """Each token sees this many tokens, itself included (Beltagy et al. 2020). 0: all before it."""
    tied_embeddings: bool = True
    """The output projection is the transposed embedding matrix (Press & Wolf 2017)."""

    pooler: bool = False
    """A dense layer with tanh over the first token (Devlin et al. 2018), for tasks on whole texts."""

    dropout: float = 0.0
    """After the embedding and after every sublayer."""
    attention_dropout: float = 0.0
    """On the attention probabilities."""
    initializer_range: float = 0.02
    """Standard deviation of the first weights. With `norm_place="pre"`, projections back into the residual stream get it
    / sqrt(2 num_layers) (Radford et al. 2019)."""
    remat: bool = False
    """Keep only each block's input and compute the rest again in the backward pass: less memory, more time."""

    def __post_init__(self) -> None:
        self._fill_defaults()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if (expected := _expected(field, value)) is not None:
                raise ValueError(f"{field.name}={value!r} is invalid: expected {expected}.")
        self._check_relations()

    def _fill_defaults(self) -> None:
        """Sizes that are 0 follow from others; values of other types are left to the checks."""
        fill = object.__setattr__
        if self.num_kv_heads == 0:
            fill(self, "num_kv_heads", self.num_heads)
        whole = isinstance(self.num_heads, int) and isinstance(self.hidden_size, int)
        if self.head_dim == 0 and whole and self.num_heads > 0:
            if self.hidden_size % self.num_heads:
                raise ValueError(
                    f"hidden_size={self.hidden_size} is invalid: expected a multiple of num_heads={self.num_heads}. "
                    "Change one of them, or give head_dim."
                )
            fill(self, "head_dim", self.hidden_size // self.num_heads)
        if self.ffn_size == 0 and whole:
            fill(self, "ffn_size", 4 * self.hidden_size)
        if isinstance(self.rope_scaling, dict):
            fill(self, "rope_scaling", RopeScaling(**self.rope_scaling))

    def _check_relations(self) -> None:
        """Raises ValueError for values that do not go together."""
        positions = f"positions={self.positions!r}"
        for name, is_wrong, expected in (
            ("num_kv_heads", self.num_heads % self.num_kv_heads, f"a divisor of num_heads={self.num_heads}"),
            ("head_dim", self.positions == "rotary" and self.head_dim % 2, f"an even number with {positions}"),
            ("hidden_size", self.positions == "sinusoidal" and self.hidden_size % 2, f"an even number with {positions}"),
            ("position_offset", self.position_offset and self.positions != "learned", f"0 with {positions}"),
            ("rope_scaling", self.rope_scaling and self.positions != "rotary", f"None with {positions}"),
        ):
            if is_wrong:
                raise ValueError(f"{name}={getattr(self, name)!r} is invalid: expected {expected}.")

    def num_parameters(self) -> int:
        """Trainable parameters of a `CausalLM`, or of an encoder without a task's head, by arithmetic: nothing is built."""
        d, qkv = self.hidden_size, (self.num_heads + 2 * self.num_kv_heads) * self.head_dim
        vectors = 1 if self.norm == "rms" else 2
        norm = vectors * d
        attention = d * qkv + self.num_heads * self.head_dim * d
        attention += self.qkv_bias * qkv + self.attention_output_bias * d + self.qk_norm * 2 * vectors * self.head_dim
        up = self.ffn_size * (1 + self.gated_ffn)
        feed_forward = d * up + self.ffn_size * d + self.ffn_bias * (up + d)
        block = attention + feed_forward + 2 * norm
        places = (self.max_length + self.position_offset) if self.positions == "learned" else 0
        tables = self.vocab_size + places + self.num_types
        output = self.vocab_size if self.causal and not self.tied_embeddings else 0
        norms = norm * ((self.norm_place == "pre") + self.embedding_norm)
        return (tables + output) * d + norms + self.num_layers * block + self.pooler * (d * d + d)

    def forward_flops_per_token(self, sequence_length: int, *, targets: float = 1.0) -> int:
        """Floating-point operations of the matrix products of one forward pass, for one token of a row.

        A multiply-add counts as two. Attention counts all keys of the row, or with `causal` the mean of
        `(sequence_length + 1) / 2` (fewer with a sliding window). Training costs three times as much (Kaplan et al. 2020,
        appendix).

        Args:
            sequence_length: S.
            targets: share of the tokens whose scores over the vocabulary are computed; a masked language model's is 0.15. For
                the others the last block makes keys and values only.
        """
        d, kv = self.hidden_size, self.num_kv_heads * self.head_dim
        heads = self.num_heads * self.head_dim
        projections = d * (heads + 2 * kv)
        rest: float = d * heads + d * self.ffn_size * (2 + self.gated_ffn)
        window = min(self.sliding_window or sequence_length, sequence_length)
        keys = (window + 1) / 2 if window == sequence_length else window - window * (window - 1) / (2 * sequence_length)
        if not self.causal:
            keys = window if window == sequence_length else 2 * keys - 1
        output = (self.vocab_size + (not self.causal) * d) * d
        rest += 2 * heads * keys
        return int(2 * (self.num_layers * projections + (self.num_layers - 1 + targets) * rest + targets * output))

    def replace(self, **changes: Any) -> ModelConfig:
        """This architecture with some fields changed; sizes that followed from others follow the new ones.

        Raises:
            ValueError: a field is unknown or its value not accepted.
        """
        fields = {field.name for field in dataclasses.fields(self)}
        if unknown := sorted(set(changes) - fields):
            raise ValueError(f"ModelConfig has no {', '.join(unknown)}; its fields are {', '.join(sorted(fields))}")
        if {"num_heads", "hidden_size"} & set(changes):
            changes = dict.fromkeys(self._derived(), 0) | changes
        return dataclasses.replace(self, **changes)

    def _derived(self) -> list[str]:
        """The sizes that are what they would be, had they been left out."""
        derived = {
            "head_dim": self.hidden_size == self.num_heads * self.head_dim,
            "num_kv_heads": self.num_kv_heads == self.num_heads,
            "ffn_size": self.ffn_size == 4 * self.hidden_size,
        }
        return [name for name, follows in derived.items() if follows]

    def __repr__(self) -> str:
        return settings_line(self, leave_out=self._derived())

    def differences(self, now: ModelConfig, *, but_for: Iterable[str] = ()) -> list[str]:
        """What another config has otherwise, as "hidden_size was 64, is 128", but for what may differ."""
        values = now.to_dict()
        changed = {name: old for name, old in self.to_dict().items() if name not in but_for and old != values[name]}
        return [f"{name} was {old}, is {values[name]}" for name, old in changed.items()]

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is unknown, missing or not accepted.
        """
        fields = dataclasses.fields(cls)
        required = {field.name for field in fields if field.default is dataclasses.MISSING}
        if missing := sorted(required - set(values)):
            raise ValueError(f"the model's config lacks {', '.join(missing)}")
        if unknown := sorted(set(values) - {field.name for field in fields}):
            raise ValueError(f"the model's config has unknown fields: {', '.join(unknown)}")
        return cls(**values)

    def save(self, path: str | Path) -> None:
        """Writes the fields as JSON: the old file or the new one, never a part."""
        write_atomically(Path(path), [(json.dumps(self.to_dict(), indent=2) + "\n").encode()])

    @classmethod
    def load(cls, path: str | Path) -> ModelConfig:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError, ValueError: no such file, not JSON, or not an architecture.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: a model folder holds its architecture in config.json")
        try:
            values = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path} is not JSON ({error}); write it anew with ModelConfig.save") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path} holds {type(values).__name__}, not the fields of a model")
        if "model_type" in values:
            raise ValueError(f"{path} is Hugging Face's: tfllm.from_huggingface({str(path.parent)!r}) reads such a folder")
        try:
            return cls.from_dict(values)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from error


_CHOICES = {"Norm": Norm, "NormPlace": NormPlace, "Positions": Positions, "Activation": Activation}
_FROM_0 = ("sliding_window", "num_types", "position_offset")
"""Whole numbers that may be 0: off. All others are from 1 on."""


def _expected(field: dataclasses.Field[Any], value: Any) -> str | None:
    """What a field of a `ModelConfig` accepts, by its type; None where it accepts `value`."""
    kind = str(field.type)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind in _CHOICES:
        choices = get_args(_CHOICES[kind])
        return None if value in choices else f"one of {', '.join(map(repr, choices))}"
    if kind == "bool":
        return None if isinstance(value, bool) else "True or False"
    if kind == "int":
        least = 0 if field.name in _FROM_0 else 1
        return None if is_number and isinstance(value, int) and value >= least else f"a whole number from {least} on"
    if kind == "float" and field.name.endswith("dropout"):
        return None if is_number and 0 <= value < 1 else "a number from 0 to below 1"
    if kind == "float":
        return None if is_number and 0 < value < math.inf else "a finite number above 0"
    return None if value is None or isinstance(value, RopeScaling) else "a RopeScaling or None"
