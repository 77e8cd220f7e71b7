"""Pretraining in one call.

Input: a token store, a tokenizer, a model config, settings. Output: a run with checkpoints and TensorBoard logs. A decoder is
    trained
to predict every next token (`CausalLM`), an encoder to predict masked tokens (`MaskedLM`), and pairs of texts if asked for.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfllm import tokenizers, train
from tfllm.config import ModelConfig
from tfllm.data.batching.batches import Batches
from tfllm.data.batching.causal import causal_lm
from tfllm.data.batching.masked import masked_lm
from tfllm.data.store import Store, get_store
from tfllm.generation import generate
from tfllm.models import CausalLM, MaskedLM
from tfllm.models.base import LanguageModel
from tfllm.prediction import predict
from tfllm.settings import Pretraining, takes_settings
from tfllm.tokenizers import Tokenizer


@takes_settings(Pretraining)
def pretrain(
    store: Store | str | Path,
    tokenizer: Tokenizer | str | Path,
    *,
    config: ModelConfig,
    folder: str | Path,
    settings: Pretraining | None = None,
    weights_from: str | Path | None = None,
    prompts: Sequence[str] = (),
    strategy: tf.distribute.Strategy | None = None,
    verbose: int | str = "auto",
) -> train.Run:
    """Trains a language model. If the process is killed, the same call continues from the last checkpoint.

    >>> config = tfllm.preset("bert-mini", vocab_size=tokenizer.vocab_size)
    >>> run = tfllm.pretrain(store, tokenizer, config=config, folder="runs/mini")
    >>> model, tokenizer = tfllm.load("runs/mini")

    Args:
        store, tokenizer: the objects, or the paths of their folders.
        config: the architecture. Its `pooler` is ignored: the model has one if it is trained on pairs.
        folder: the run's, for checkpoints and TensorBoard logs.
        settings: how to train; the defaults of `tfllm.Pretraining` unless given.
        weights_from: a model folder, checkpoint or run whose weights are the first ones, unless this run has a checkpoint.
        prompts: texts for the samples in TensorBoard, after some epochs (`samples_every`): a decoder continues them, an encoder
            fills in their masks.
        strategy: where to train (`tfllm.train.strategy`). By default the one in whose scope this is called. Batches, losses and
            dropout are the same for all strategies.
        verbose: as in Keras' `fit`; "auto" prints lines if standard output is not a terminal. Only the first worker prints.

    Returns:
        The run, with a record per epoch in `history`.

    Raises:
        TypeError: the store, the tokenizer or the config has the wrong type, or a setting is given outside `settings`.
        ValueError: a setting is out of range, or the store, the tokenizer and the model do not fit each other.
    """
    settings = settings or Pretraining()
    store, tokenizer = get_store(store), tokenizers.get(tokenizer)
    if not isinstance(config, ModelConfig):
        raise TypeError(
            f"config={config!r:.80} is invalid: expected a ModelConfig, got {type(config).__name__}. Make one with "
            "tfllm.preset(name, vocab_size=tokenizer.vocab_size), or read one with tfllm.ModelConfig.load(path)."
        )
    store.check_tokenizer(tokenizer)
    _check_settings(config, settings)
    with (strategy or tf.distribute.get_strategy()).scope():
        model = _build_model(config, settings)
        _compile(model, tokenizer, settings)
    rows = _row_settings(config, settings)
    run = train.Run(
        folder,
        model,
        tokenizer=tokenizer,
        steps_per_epoch=settings.steps_per_epoch,
        data=f"store {store.fingerprint}, seed {settings.seed}, {json.dumps(_as_stored(rows))}",
        weights_from=weights_from,
    )
    verbose = verbose if run.is_chief else 0
    if verbose:
        steps = settings.epochs * settings.steps_per_epoch
        print(f"{model.config.num_parameters():,} parameters; {folder} is at step {run.step} of {steps}")
    _fit(run, store, rows, settings=settings, prompts=prompts, verbose=verbose)
    return run


def _fit(
    run: train.Run,
    store: Store,
    rows: dict[str, Any],
    *,
    settings: Pretraining,
    prompts: Sequence[str],
    verbose: int | str,
) -> None:
    """Trains from where the run is to the last epoch."""
    model, tokenizer, config = run.model, run.tokenizer, run.model.config
    validation = None
    if store.manifest["splits"]["validation"]["documents"]:
        validation = batches(model, store, tokenizer, **rows, split="validation", repeat=False).take(settings.validation_steps)
    share_scored = 1.0 if config.causal else settings.mask_rate  # of the tokens
    model.fit(
        batches(model, store, tokenizer, **rows, seed=settings.seed, start_step=run.step),
        validation_data=validation,
        epochs=settings.epochs,
        initial_epoch=run.epoch,
        steps_per_epoch=settings.steps_per_epoch,
        callbacks=run.callbacks(
            sample=_sampler(model, tokenizer, prompts, settings.sequence_length // 2) if prompts else None,
            flops_per_token=3 * config.forward_flops_per_token(settings.sequence_length, targets=share_scored),
            tokens_per_step=None if config.causal else settings.batch_size * settings.sequence_length,
            hparams=dataclasses.asdict(settings),
            samples_every=settings.samples_every,
        ),
        verbose=verbose,
    )


_OPTIMIZER_SETTINGS = {
    "beta_1": ("adamw", "muon", "lion"),
    "beta_2": ("adamw", "muon", "lion"),
    "epsilon": ("adamw", "muon"),
    "momentum": ("muon",),
}
"""Settings of optimizers, and the optimizers that have them."""


def _check_settings(config: ModelConfig, settings: Pretraining) -> None:
    """Raises ValueError for a setting that is out of range, or that the model or the optimizer does not have."""
    for name in ("epochs", "steps_per_epoch", "batch_size", "sequence_length"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name}={getattr(settings, name)} is invalid: expected at least 1.")
    steps = settings.epochs * settings.steps_per_epoch
    if settings.warmup_steps is not None and not 0 <= settings.warmup_steps < steps:
        raise ValueError(
            f"warmup_steps={settings.warmup_steps} is invalid: expected 0 to {steps - 1}, because the run has {steps} steps "
            f"(epochs={settings.epochs} of steps_per_epoch={settings.steps_per_epoch}). Lower it, or train for more steps."
        )
    if config.causal and settings.pairs != "none":
        raise ValueError(
            f"pairs={settings.pairs!r} is invalid: expected 'none' for a decoder, because pairs are for encoders. Remove it."
        )
    for name in ("mask_rate", "mask_unit"):
        if config.causal and getattr(settings, name) != getattr(Pretraining, name):
            raise ValueError(
                f"{name}={getattr(settings, name)!r} is invalid: expected no {name} for a decoder, because masks are for "
                "encoders. Remove it."
            )
    for name, optimizers in _OPTIMIZER_SETTINGS.items():
        if getattr(settings, name) is not None and settings.optimizer not in optimizers:
            raise ValueError(
                f"{name}={getattr(settings, name)} is invalid: expected no {name} with optimizer={settings.optimizer!r}, "
                f"because it is for {' and '.join(optimizers)}. Remove it."
            )


def batches(model: LanguageModel, store: Store, tokenizer: Tokenizer, **rows: Any) -> Batches:
    """The batches for a language model; `rows` are arguments of `data.causal_lm` or `data.masked_lm`."""
    return causal_lm(store, **rows) if model.causal else masked_lm(store, tokenizer, **rows)


def _build_model(config: ModelConfig, settings: Pretraining) -> LanguageModel:
    options: dict[str, Any] = dict(seed=settings.seed, dtype=settings.dtype)
    if config.causal:
        return CausalLM(config, **options)
    pairs = settings.pairs != "none"
    return MaskedLM(config.replace(pooler=pairs), next_sentence=pairs, **options)


def _compile(model: Any, tokenizer: Tokenizer, settings: Pretraining) -> None:
    steps = settings.epochs * settings.steps_per_epoch
    warmup = min(100, steps // 10) if settings.warmup_steps is None else settings.warmup_steps
    rates = train.schedule(
        settings.schedule,
        peak=settings.learning_rate,
        steps=steps,
        warmup_steps=warmup,
        decay_steps=settings.decay_steps,
        final_fraction=settings.final_fraction,
    )
    own = {name: value for name in _OPTIMIZER_SETTINGS if (value := getattr(settings, name)) is not None}
    optimizer = getattr(train, settings.optimizer)(
        rates, weight_decay=settings.weight_decay, clip_norm=settings.clip_norm, **own
    )
    metrics = {"token_bytes": tokenizer.token_bytes()} if model.causal else {}  # for bits per byte
    model.compile(optimizer, gradient_accumulation=settings.gradient_accumulation, seed=settings.seed, **metrics)


def _row_settings(config: ModelConfig, settings: Pretraining) -> dict[str, Any]:
    """The arguments of `batches` that say what a row and a batch are."""
    rows = dict(
        sequence_length=settings.sequence_length, batch_size=settings.batch_size, document_masks=settings.document_masks
    )
    if config.causal:
        return rows
    return rows | dict(mask_rate=settings.mask_rate, unit=settings.mask_unit, pairs=settings.pairs)


def _as_stored(rows: dict[str, Any]) -> dict[str, Any]:
    """`rows` under the names that the first version wrote into runs, so that their runs go on."""
    values = {"nsp": "next", "sop": "order"}
    return {
        {"mask_rate": "mask_share"}.get(name, name): values.get(value, value) if name == "pairs" else value
        for name, value in rows.items()
    }


def _sampler(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[str], max_new_tokens: int
) -> Callable[[], list[str]]:
    """A function that returns texts for TensorBoard: continued prompts, or prompts with their masks filled in."""
    if model.causal:
        return lambda: [each.prompt + each.text for each in generate(model, tokenizer, prompts, max_new_tokens=max_new_tokens)]
    return lambda: [each["text"] for each in predict(model, tokenizer, prompts)]
