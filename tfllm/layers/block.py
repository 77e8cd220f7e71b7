"""One Transformer block: attention and feed-forward, each with its norm, its dropout and the residual stream around it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfllm.layers.attention import Attention, KeysAndValues
from tfllm.layers.base import Composite
from tfllm.layers.call_options import CallOptions
from tfllm.layers.dropout import add_dropped
from tfllm.layers.feedforward import FeedForward
from tfllm.layers.norms import norm
from tfllm.layers.positions import Rotation
from tfllm.layers.stateless_random import fold_in


class Block(Composite):
    """Norm before each sublayer ("pre", Xiong et al. 2020) or after each sum ("post", Vaswani et al. 2017).

    Args:
        size: D.
        attention, feedforward: the arguments of `Attention` and `FeedForward`.
        norm_kind, norm_place, norm_epsilon: of the two norms.
        dropout: after each sublayer.
    """

    def __init__(
        self,
        size: int,
        *,
        attention: dict[str, Any],
        feedforward: dict[str, Any],
        norm_kind: str,
        norm_place: str,
        norm_epsilon: float,
        dropout: float,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        policy = dict(dtype=self.dtype_policy)
        self.pre, self.rate, self.output_shape = norm_place == "pre", dropout, (None, None, size)
        self.attention = Attention(size, **attention, name="attention", **policy)
        self.attention_norm = norm(norm_kind, size, epsilon=norm_epsilon, name="attention_norm", **policy)
        self.feedforward = FeedForward(size, **feedforward, name="feedforward", **policy)
        self.feedforward_norm = norm(norm_kind, size, epsilon=norm_epsilon, name="feedforward_norm", **policy)

    def call(
        self,
        x: tf.Tensor,
        penalty: tf.Tensor | None,
        *,
        turn: Rotation | None = None,
        cache: KeysAndValues | None = None,
        start: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
        places: tf.Tensor | None = None,
        options: CallOptions = CallOptions(),
    ) -> tuple[tf.Tensor, KeysAndValues]:
        """[B, S, D] -> [B, S, D], or [B, P, D] at `places`; other arguments and the second result are `Attention.call`'s."""
        seeds = [None] * 3 if seed is None else [fold_in(seed, i) for i in range(3)]
        inner = self.attention_norm(x, options=options) if self.pre else x
        inner, attended = self.attention(
            inner, penalty, turn=turn, cache=cache, start=start, seed=seeds[0], places=places, options=options
        )
        x = x if places is None else tf.gather(x, places, batch_dims=1)
        x = add_dropped(x, inner, self.rate, seeds[1], options)
        x = x if self.pre else self.attention_norm(x, options=options)
        inner = self.feedforward(self.feedforward_norm(x, options=options) if self.pre else x, options=options)
        x = add_dropped(x, inner, self.rate, seeds[2], options)
        return (x if self.pre else self.feedforward_norm(x, options=options)), attended
