"""From text to a tokenizer and a token store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tfllm.commands.arguments import Paths
from tfllm.files import is_remote


def tokenizer(
    paths: Paths,
    *,
    out: Path,
    kind: Literal["unigram", "bpe", "wordpiece", "byte_bpe", "bytes"] = "unigram",
    vocab_size: int | None = None,
    max_bytes: int = 8 << 20,
    character_coverage: float = 0.9995,
    line_break_pieces: bool = False,
    lowercase: bool | None = None,
    field: str = "text",
    exclude: tuple[str, ...] = (),
    invalid_utf8: Literal["error", "skip"] = "error",
) -> None:
    """Train a tokenizer on text.

    Args:
        paths: Files, folders, globs: text, .jsonl, .json, .csv, .tsv, each also as .gz .zst .bz2 .xz, and .parquet; the files
            that `tfllm prepare` would read.
        out: Folder for the tokenizer.
        kind: unigram is fast, bpe gives slightly fewer tokens, bytes needs no training; wordpiece is BERT's, byte_bpe
            GPT-2's and RoBERTa's.
        vocab_size: Entries of the vocabulary; 8192 unless given.
        max_bytes: A larger corpus is sampled down to it, evenly and always alike.
        character_coverage: Share of the text whose characters get entries, 0.98 to 1; rarer ones are spelt in bytes.
        line_break_pieces: unigram and bpe: a piece may end in a line break.
        lowercase: wordpiece: case and accents are lost; True unless given.
        field: Name of the text in JSON, tables and Parquet.
        exclude: Patterns of files to leave out.
        invalid_utf8: What to do with files that are not UTF-8.
    """
    from tfllm import tokenizers

    if out.exists():
        raise FileExistsError(f"{out} is there already: choose another folder, or remove it first")
    trained = tokenizers.train(
        paths,
        kind=kind,
        vocab_size=vocab_size,
        max_bytes=max_bytes,
        character_coverage=character_coverage,
        line_break_pieces=line_break_pieces,
        lowercase=lowercase,
        field=field,
        exclude=exclude,
        invalid_utf8=invalid_utf8,
    )
    trained.save(out)
    print(f"{out}: {trained.kind} tokenizer, {trained.vocab_size} entries")


def prepare(
    paths: Paths,
    *,
    tokenizer: Path,
    out: str,
    field: str = "text",
    separator: str | None = None,
    exclude: tuple[str, ...] = (),
    validation: float = 0.005,
    shards: int | None = None,
    processes: int | None = None,
    invalid_utf8: Literal["error", "skip"] = "error",
    near_duplicates: float | None = None,
    runner: Literal["DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner", "PortableRunner"] | None = None,
    beam_options: tuple[str, ...] = (),
) -> None:
    """Turn text into a token store: deduplicated, split, shuffled by hash.

    Args:
        paths: Files, folders, globs: text, .jsonl, .json, .csv, .tsv, each also as .gz .zst .bz2 .xz, and .parquet.
        tokenizer: Folder of the tokenizer.
        out: Folder for the store. Interrupted, call again: it goes on.
        field: Name of the text in JSON, tables and Parquet.
        separator: String between documents of a text file; without one, a file is a document.
        exclude: Patterns of files to leave out.
        validation: Share of the documents held out, chosen by their hash.
        shards: Files of the training split; one for every 67 million ids unless given.
        processes: Worker processes; all cores unless given.
        invalid_utf8: What to do with documents that are not UTF-8.
        near_duplicates: Remove documents this similar, 0.8 say: estimated overlap of their sets of five words in a row.
        runner: Prepare with Apache Beam (tfllm[beam]), to the same bytes; paths and out may be gs://, s3:// and so on.
        beam_options: Beam's own options without their dashes: direct_num_workers=2 region=europe-west4.
    """
    from tfllm import data, tokenizers

    settings: dict[str, Any] = dict(
        field=field,
        separator=separator,
        exclude=exclude,
        validation=validation,
        shards=shards,
        invalid_utf8=invalid_utf8,
        near_duplicates=near_duplicates,
    )
    if runner is None:
        if beam_options:
            raise ValueError("--beam-options go with --runner, such as --runner DirectRunner")
        if addresses := [place for place in (*paths, out) if is_remote(place)]:
            raise ValueError(f"{addresses[0]} is not on this machine: give --runner, such as --runner DirectRunner, too")
        store = data.prepare(list(paths), tokenizers.load(tokenizer), Path(out), processes=processes, **settings)
        print_manifest(store.manifest)
        return
    if processes is not None:
        raise ValueError("--processes is for a preparation without --runner: with one, give --beam-options")
    flags = [f"--{option.removeprefix('--')}" for option in beam_options]
    manifest = data.prepare_with_beam(
        list(paths), tokenizers.load(tokenizer), out, runner=runner, beam_options=flags, **settings
    )
    print_manifest(manifest)


def print_manifest(manifest: dict[str, Any]) -> None:
    """Says what a store holds."""
    for name, split in manifest["splits"].items():
        print(f"{name}: {split['documents']:,} documents, {split['tokens']:,} tokens, {split['utf8_bytes']:,} bytes")
    near = f", {manifest['near_duplicates_removed']} near duplicates" if "near_duplicates_removed" in manifest else ""
    print(f"{manifest['duplicates_removed']} duplicates{near} removed, {manifest['skipped_documents']} documents skipped")
