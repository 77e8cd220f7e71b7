"""The manifest of a store, and the warnings about what it counts; shared by local preparation and Beam."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tfllm.corpus.chunks import ReadOptions
from tfllm.corpus.sources import patterns_of
from tfllm.data.preparation.inputs import Inputs
from tfllm.data.preparation.near_duplicates import MinHashSettings
from tfllm.data.preparation.shards import ShardRecord, Totals
from tfllm.data.store import FORMAT, manifest_checksum

FEW_DOCUMENTS = 10
"""Fewer for validation, and the caller is told."""


def settings_of(
    *,
    field: str,
    separator: str | None,
    exclude: str | Sequence[str],
    validation: float,
    shards: int | None,
    invalid_utf8: str,
    near_duplicates: float | None,
) -> dict[str, Any]:
    """The settings that a store follows from, as the manifest lists them.

    Raises:
        ValueError: naming the setting that is not accepted.
    """
    ReadOptions(field, separator, invalid_utf8)
    settings: dict[str, Any] = {
        "field": field,
        "separator": separator,
        "exclude": patterns_of(exclude),
        "validation": float(validation),
        "shards": shards,
        "invalid_utf8": invalid_utf8,
    }
    if near_duplicates is not None:  # absent otherwise: stores of before there was the choice are the same stores
        settings["near_duplicates"] = float(near_duplicates)
    accepted = {
        "validation": 0 <= settings["validation"] < 1 or "a fraction from 0 up to, not including, 1",
        "shards": shards is None or (isinstance(shards, int) and 0 < shards < 100_000) or "None, or an int from 1 to 99999",
        "near_duplicates": 0.5 <= settings.get("near_duplicates", 1) <= 1 or "None, or a similarity from 0.5 to 1",
    }
    for name, answer in accepted.items():
        if answer is not True:
            raise ValueError(f"{name}={settings[name]!r} is invalid: expected {answer}.")
    return settings


def tokenizer_entry(tokenizer: Any) -> dict[str, Any]:
    """The tokenizer, as the manifest names it."""
    return {
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "fingerprint": tokenizer.fingerprint(),
        "separator_id": tokenizer.eos_id,
    }


def id_dtype(tokenizer: Any) -> str:
    """Of the ids on disk."""
    return "<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4"


def minhash_settings_of(settings: dict[str, Any]) -> MinHashSettings | None:
    """What counts as near, or None where nobody asked."""
    return MinHashSettings(settings["near_duplicates"]) if "near_duplicates" in settings else None


def manifest_of(
    totals: Totals,
    records: Sequence[ShardRecord],
    *,
    settings: dict[str, Any],
    identity: dict[str, Any],
    dtype: str,
    inputs: Inputs,
    fingerprint: str,
) -> dict[str, Any]:
    """The manifest of a store whose shards are these."""
    records = sorted(records, key=lambda record: record.file)
    minhash = minhash_settings_of(settings)
    manifest = {
        "format": FORMAT,
        "dtype": np.dtype(dtype).name,
        "tokenizer": identity,
        "settings": settings,
        "fingerprint": fingerprint,
        "inputs": inputs.entry(),
        "duplicates_removed": totals.documents - sum(record.documents for record in records),
        **({"near_duplicates_removed": totals.near_duplicates, "near_duplicates": asdict(minhash)} if minhash else {}),
        "empty_documents": totals.empty,
        "documents_with_u2581": sum(record.documents_with_u2581 for record in records),
        "skipped_documents": totals.skipped.total(),
        "skipped_files": [{"file": file, "documents": n} for file, n in sorted(totals.skipped.items())],
        "splits": {split: _split_entry(split, records) for split in ("train", "validation")},
    }
    return manifest | {"checksum": manifest_checksum(manifest)}


def _split_entry(split: str, records: Sequence[ShardRecord]) -> dict[str, Any]:
    mine = [asdict(record) for record in records if record.file.startswith(f"{split}-")]
    totals = {key: sum(record[key] for record in mine) for key in ("documents", "tokens", "utf8_bytes")}
    return {**totals, "shards": mine}


def report(manifest: dict[str, Any], tokenizer: Any, out: str | os.PathLike[str]) -> None:
    """Warn of what the caller may not expect."""
    held_out = manifest["splits"]["validation"]["documents"]
    if manifest["settings"]["validation"] and held_out < FEW_DOCUMENTS:
        everything = held_out + manifest["splits"]["train"]["documents"]
        warnings.warn(
            f"Validation has {held_out} of {everything} documents: too few for reliable metrics. Give a larger validation=… "
            f"(now {manifest['settings']['validation']:g}) or more documents (separator=… splits a file into several); "
            "validation=0 holds out none.",
            stacklevel=3,
        )
    if manifest["skipped_documents"]:
        warnings.warn(
            f"{manifest['skipped_documents']} documents are not UTF-8 and were skipped, in "
            f"{len(manifest['skipped_files'])} files such as {manifest['skipped_files'][0]['file']}; "
            f"{os.fspath(out)}/manifest.json lists them.",
            stacklevel=3,
        )
    if manifest["documents_with_u2581"] and tokenizer.decode(tokenizer.encode("\u2581")) != "\u2581":
        warnings.warn(
            f"{manifest['documents_with_u2581']} documents hold U+2581 (▁), which this tokenizer does not decode exactly.",
            stacklevel=3,
        )
