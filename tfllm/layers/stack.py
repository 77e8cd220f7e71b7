"""Blocks one above the other: the body of every encoder and decoder.

Inputs: vectors, their positions and segments, what was read before. Outputs: one record of hidden states, cache and attention.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfllm.layers.base import Composite
from tfllm.layers.block import BlockOutput, Role, TransformerBlock
from tfllm.layers.cache import Cache, Memory, check_room, new_cache, write_labels
from tfllm.layers.call_options import CallOptions
from tfllm.layers.dropout import seed_of_call
from tfllm.layers.masks import attention_mask as mask_of
from tfllm.layers.masks import combined_mask, keras_mask
from tfllm.layers.norms import norm as norm_called
from tfllm.layers.positions import rotary_frequencies, rotation
from tfllm.layers.stateless_random import fold_in


class StackOutput(NamedTuple):
    """What a stack computes of a batch. Parts that were not asked for are ()."""

    last_hidden_state: tf.Tensor
    """[B, S or P, D], behind the final norm."""
    cache: Cache | tuple[()] = ()
    """The cache that was given, with the S tokens written behind what it held."""
    hidden_states: tuple[tf.Tensor, ...] = ()
    """[B, S, D] each, one more than there are blocks: what enters the first block and what leaves each, the last normalised."""
    attentions: tuple[tf.Tensor, ...] = ()
    """One a block: the self-attention's probabilities, [B, N, S, T]."""
    cross_attentions: tuple[tf.Tensor, ...] = ()
    """One a block: the cross-attention's probabilities over the memory, [B, N, S, T of the memory]."""


class BlockStack(Composite):
    """What a stack does with its `blocks` and its `final_norm`, wherever its vectors come from.

    Args:
        role: of its blocks.
        window: tokens see this many positions, their own included; 0 for all.
        remat: in training keep each block's input only, and run the block again in the backward pass (Chen et al. 2016).
    """

    blocks: list[TransformerBlock]
    final_norm: Any = None
    frequencies: Any = None
    """Of rotary positions, float32 [H/2]; None for no rotation."""

    def __init__(self, *, role: Role, window: int = 0, remat: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.role, self.window, self.remat = role, window, remat

    def run(
        self,
        x: tf.Tensor,
        positions: tf.Tensor | None = None,
        segments: tf.Tensor | None = None,
        *,
        memory: tf.Tensor | None = None,
        memory_mask: tf.Tensor | None = None,
        bias: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        cache: Cache | None = None,
        training: bool = False,
        seed: tf.Tensor | None = None,
        output_positions: tf.Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        options: CallOptions = CallOptions(),
    ) -> StackOutput:
        """Runs vectors through the blocks, from wherever they come: tokens, images, learned prompts.

        Args:
            x: [B, S, D], positions added where they are added.
            positions: int32 [B, S] or [1, S]; 0 ... S-1 behind what the cache holds unless given.
            segments: int32 [B, S] or [1, S], from 1; 0 is padding. Tokens see their own segment only. All 1 unless given.
            memory, memory_mask: [B, T, any width] and bool [B, T], of a decoder with cross-attention; with a cache it is given
                once, to `with_memory`.
            bias: floating [B or 1, N or 1, S or 1, T], added to the scores of every block's self-attention.
            attention_mask: bool, as in `MultiHeadAttention.call`, beside what positions and segments say.
            cache: what was read before (`new_cache`).
            training: run the blocks as in training (`remat`). Dropout follows `seed`, int32 [B]; None for none.
            output_positions: int32 [B, P], the places of the tokens whose last hidden states are wanted; None for all. Of the
                others the last block makes only what these see of them.
            output_hidden_states, output_attentions: give these, too, of all places.
            options: of the call.
        """
        wanted = output_positions
        if output_hidden_states or output_attentions:
            wanted = None
        mask, rope, cache = self._prepared(x, positions, segments, attention_mask, cache)
        context: dict[str, Any] = dict(memory=memory, bias=bias, attention_mask=mask, memory_mask=memory_mask, rope=rope)
        context |= dict(return_attention_scores=output_attentions, options=options)
        if cache is not None:
            context["start"] = cache.length
            if isinstance(cache.memory, Memory):
                context["memory_mask"] = cache.memory.mask
        states, outputs = [x], []
        for i, block in enumerate(self.blocks):
            own: dict[str, Any] = dict(seed=None if seed is None else fold_in(seed, i + 1))
            own["output_positions"] = wanted if i == len(self.blocks) - 1 else None
            if cache is not None:
                own["cache"] = (cache.keys[i], cache.values[i])
                own["memory_cache"] = (cache.memory.keys[i], cache.memory.values[i]) if cache.memory else None
            rematerialize = training and self.remat and cache is None and not output_attentions
            found = (_rematerialized if rematerialize else _called)(block, x, **context, **own)
            output = found if isinstance(found, BlockOutput) else BlockOutput(found)
            x = output.output
            states.append(x)
            outputs.append(output)
        states[-1] = x = x if self.final_norm is None else self.final_norm(x, options=options)
        if wanted is not output_positions:
            x = tf.gather(x, output_positions, batch_dims=1)
        if cache is not None:
            keys, values = zip(*(each.cache for each in outputs), strict=True)
            cache = cache._replace(keys=keys, values=values, length=cache.length + tf.shape(states[0])[1])
        return StackOutput(
            x,
            cache=() if cache is None else cache,
            hidden_states=tuple(states) if output_hidden_states else (),
            attentions=tuple(each.scores for each in outputs) if output_attentions else (),
            cross_attentions=tuple(each.cross_scores for each in outputs if not isinstance(each.cross_scores, tuple))
            if output_attentions
            else (),
        )

    def new_cache(self, batch_size: int | tf.Tensor, length: int | tf.Tensor) -> Cache:
        """An empty cache for `batch_size` rows of at most `length` tokens."""
        attention = self.blocks[0].attention
        sizes = dict(num_layers=len(self.blocks), num_kv_heads=attention.heads[1], head_dim=attention.head_dim)
        return new_cache(batch_size, length, dtype=self.compute_dtype, **sizes)

    def with_memory(self, cache: Cache, memory: tf.Tensor, mask: tf.Tensor | None = None) -> Cache:
        """The cache with each block's keys and values of the memory, made once for all that is read later.

        The cache may have several rows, one behind the other, for each row of the memory: continuations of one source.

        Args:
            memory: [B, T, any width]. mask: bool [B, T], False for padding.
        """
        keys, values = zip(*(block.cross_attention.memory_cache(memory) for block in self.blocks), strict=True)
        mask = tf.ones(tf.shape(memory)[:2], tf.bool) if mask is None else tf.cast(mask, tf.bool)
        return cache._replace(memory=Memory(keys, values, mask))

    def _prepared(
        self, x: tf.Tensor, positions: Any, segments: Any, attention_mask: tf.Tensor | None, cache: Cache | None
    ) -> tuple[tf.Tensor | None, Any, Cache | None]:
        """The mask of all blocks, the rotation of all queries and keys, and the cache with the new positions and segments."""
        causal = self.role != "encoder"
        # Without positions and segments one mask serves all rows, and an encoder needs none.
        unmasked = segments is None and not causal and not self.window
        if positions is None:
            positions = (0 if cache is None else cache.length) + tf.range(tf.shape(x)[1])[None]
        if segments is None:
            segments = tf.ones_like(positions)
        key_positions, key_segments = positions, segments
        if cache is not None:
            if tf.executing_eagerly():
                check_room(cache, *x.shape[:2])
            key_positions = write_labels(cache.positions, positions, cache.length)
            key_segments = write_labels(cache.segment_ids, segments, cache.length)
            cache = cache._replace(positions=key_positions, segment_ids=key_segments)
        mask = combined_mask(attention=attention_mask, keys=None)
        if not unmasked:
            keys = dict(key_positions=key_positions, key_segments=key_segments)
            seen = mask_of(positions, segments, **keys, causal=causal, window=self.window)
            mask = seen if mask is None else seen & mask
        return mask, None if self.frequencies is None else rotation(positions, self.frequencies), cache


@keras.saving.register_keras_serializable(package="tfllm")
class TransformerStack(BlockStack):
    """Transformer blocks one above the other (Vaswani et al. 2017), and a final norm where norms come first.

    >>> encoder = tfllm.layers.TransformerStack(6, num_heads=8, ffn_size=2048, norm_place="post")
    >>> decoder = tfllm.layers.TransformerStack(6, num_heads=8, ffn_size=2048, role="decoder_with_cross_attention")
    >>> y = decoder(target, memory=encoder(source))

    Args:
        num_layers: how many blocks.
        role: "encoder", "decoder" or "decoder_with_cross_attention".
        rope_theta: rotate queries and keys by their positions (`RotaryPositions`), with this base; None for no rotation.
        window, remat: tokens see this many positions (0: all); keep in training less memory for more time.
        block: every other argument of `TransformerBlock`.

    Raises:
        ValueError: `num_layers` is below 1, or an argument of the blocks is out of range.
    """

    def __init__(
        self,
        num_layers: int,
        *,
        role: Role = "encoder",
        norm_place: str = "pre",
        norm: str = "layer",
        norm_epsilon: float = 1e-5,
        rope_theta: float | None = None,
        window: int = 0,
        remat: bool = False,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        **block: Any,
    ):
        super().__init__(role=role, window=window, remat=remat, name=name, dtype=dtype, trainable=trainable)
        if num_layers < 1:
            raise ValueError(f"num_layers={num_layers!r} is invalid: expected at least 1. Give the number of blocks")
        self.rope_theta, policy = rope_theta, dict(dtype=self.dtype_policy)
        block |= dict(role=role, norm_place=norm_place, norm=norm, norm_epsilon=norm_epsilon)
        self.blocks = [TransformerBlock(**block, name=f"block_{i}", **policy) for i in range(num_layers)]
        if norm_place == "pre":
            self.final_norm = norm_called(norm, epsilon=norm_epsilon, name="final_norm", **policy)

    def build(self, x_shape: Any, memory_shape: Any = None) -> None:  # type: ignore[override]
        self.output_shape = tuple(x_shape)
        for block in self.blocks:
            if not block.built:
                block.build(x_shape, memory_shape)
        if self.final_norm is not None and not self.final_norm.built:
            self.final_norm.build(x_shape)
        if self.rope_theta is not None:
            self.frequencies = rotary_frequencies(self.blocks[0].attention.head_dim, self.rope_theta)

    def call(
        self,
        x: tf.Tensor,
        memory: tf.Tensor | None = None,
        bias: tf.Tensor | None = None,
        *,
        attention_mask: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        memory_mask: tf.Tensor | None = None,
        positions: tf.Tensor | None = None,
        training: bool | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        options: CallOptions = CallOptions(),
    ) -> Any:
        """[B, S, D] -> [B, S, D]; a `StackOutput` where hidden states or attentions are asked for.

        Args:
            memory: [B, T, any width], what a decoder with cross-attention reads.
            bias: floating [B or 1, N or 1, S or 1, T], added to the scores of every block's self-attention; it has a gradient.
            attention_mask: bool [S, T], [B, S, T] or [B, N, S, T], True where a token sees another.
            mask, memory_mask: Keras' masks of x and of the memory, bool [B, S] and [B, T]; Keras fills them in.
            positions: int32 [B, S], of rotations and windows; 0 ... S-1 unless given.
            training: apply dropout. Keras fills it in.
            options: of the call.
        """
        allowed = combined_mask(attention=attention_mask, keys=keras_mask(x, mask))
        first = self.blocks[0]
        output = self.run(
            x,
            positions,
            memory=memory,
            memory_mask=keras_mask(memory, memory_mask),
            bias=bias,
            attention_mask=allowed,
            training=bool(training),
            seed=seed_of_call(x, None, training, *first.rates),
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            options=options,
        )
        return output if output_hidden_states or output_attentions else output.last_hidden_state


def _called(block: TransformerBlock, x: tf.Tensor, **arguments: Any) -> Any:
    return block(x, **arguments)


def _rematerialized(
    block: TransformerBlock, x: tf.Tensor, *, memory: tf.Tensor | None = None, bias: tf.Tensor | None = None, **arguments: Any
) -> tf.Tensor:
    """The block's output, of which only the inputs are kept.

    `tf.recompute_grad` gives no gradient to what its function closes over, so all that needs one is an argument.
    """
    inputs = {name: each for name, each in (("memory", memory), ("bias", bias)) if each is not None}
    again = tf.recompute_grad(lambda x, *rest: block(x, **dict(zip(inputs, rest, strict=True)), **arguments))
    return again(x, *inputs.values())
