"""`tfllm tokenizer` and `tfllm prepare`: from text to a tokenizer, and to a token store."""

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
        paths: Files, folders, globs: text, .jsonl, .json, .csv, .tsv, each also as .gz .zst .bz2 .xz, and .parquet; the same
            files that `tfllm prepare` reads.
        out: Folder for the tokenizer.
        kind: unigram is fast. bpe gives slightly fewer tokens. bytes needs no training. wordpiece is the kind of BERT,
            byte_bpe that of GPT-2 and RoBERTa.
        vocab_size: Entries of the vocabulary; 8192 by default.
        max_bytes: Of a larger corpus, a sample of this size is used. The same corpus gives the same sample.
        character_coverage: Share of the text whose characters become entries, 0.98 to 1. Other characters become bytes.
        line_break_pieces: unigram and bpe: allow pieces that end in a line break.
        lowercase: wordpiece: remove case and accents; True by default.
        field: Name of the text in JSON, tables and Parquet.
        exclude: Patterns of files that are not read.
        invalid_utf8: What to do with files that are not UTF-8.
    """
    from tfllm import tokenizers

    if out.exists():
        raise FileExistsError(f"{out} exists: expected a new folder. Choose another folder, or remove it first.")
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
        out: Folder for the store. After an interruption, run the same command again: it continues.
        field: Name of the text in JSON, tables and Parquet.
        separator: String between documents of a text file. Without it, each file is one document.
        exclude: Patterns of files that are not read.
        validation: Share of the documents for the validation split. They are chosen by their hash.
        shards: Number of files of the training split; by default one for every 67 million ids.
        processes: Number of worker processes; by default the number of cores.
        invalid_utf8: What to do with documents that are not UTF-8.
        near_duplicates: Remove documents with at least this similarity, for example 0.8: the estimated Jaccard similarity of
            their sets of five consecutive words.
        runner: Prepare with Apache Beam (tfllm[beam]). The store has the same bytes. paths and out may be gs://, s3://, ….
        beam_options: Options of Beam without dashes: direct_num_workers=2 region=europe-west4.
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
            raise ValueError(
                "--beam-options is invalid: expected no value without --runner. Give --runner, such as --runner DirectRunner."
            )
        if addresses := [place for place in (*paths, out) if is_remote(place)]:
            raise ValueError(
                f"{addresses[0]} is not on this machine: expected a local path without --runner. Give --runner, such as "
                "--runner DirectRunner."
            )
        store = data.prepare(list(paths), tokenizers.load(tokenizer), Path(out), processes=processes, **settings)
        print_manifest(store.manifest)
        return
    if processes is not None:
        raise ValueError(
            f"--processes {processes} is invalid: expected no value with --runner. Give the number of workers in "
            "--beam-options."
        )
    flags = [f"--{option.removeprefix('--')}" for option in beam_options]
    manifest = data.prepare_with_beam(
        list(paths), tokenizers.load(tokenizer), out, runner=runner, beam_options=flags, **settings
    )
    print_manifest(manifest)


def print_manifest(manifest: dict[str, Any]) -> None:
    """Prints the sizes of a store."""
    for name, split in manifest["splits"].items():
        print(f"{name}: {split['documents']:,} documents, {split['tokens']:,} tokens, {split['utf8_bytes']:,} bytes")
    near = f", {manifest['near_duplicates_removed']} near duplicates" if "near_duplicates_removed" in manifest else ""
    print(f"{manifest['duplicates_removed']} duplicates{near} removed, {manifest['skipped_documents']} documents skipped")
