"""`prepare_with_beam`: a token store from raw text by Apache Beam, for a corpus that is too large for one machine.

    sources -> chunks -> documents with their ids -> by hash, each once -> (near duplicates out) -> by shard -> files

The store has the bytes that `prepare` gives, for the steps are the same functions. What waits in files there is an element of a
collection here, because workers share no disk. The launcher writes the manifest when all shards are there, so nothing looks
finished before. A run that was interrupted starts again from the beginning; within a run the runner repeats what fails.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tfllm import tokenizers
from tfllm.corpus.chunks import ReadOptions
from tfllm.corpus.filesystem import (
    exists,
    move,
    names_in,
    open_file,
    remove,
    remove_folder,
    write_whole,
)
from tfllm.corpus.formats import SourceError
from tfllm.corpus.remote_files import find_remote
from tfllm.corpus.sources import Found, SkippedFiles, Source, check_unchanged, find_sources
from tfllm.data.preparation.chunk_files import ChunkFileSettings
from tfllm.data.preparation.inputs import Files
from tfllm.data.preparation.manifest import id_dtype, manifest_of, minhash_settings_of, report, settings_of, tokenizer_entry
from tfllm.data.preparation.shards import ShardRecord, Totals
from tfllm.data.preparation.work_dir import check_out, fingerprint_of, open_finished_store, open_work_dir, publish_store
from tfllm.data.store import StoreError, manifest_checksum
from tfllm.files import is_remote

RUNNERS = {
    # Beam's own "DirectRunner" may download a program to run the pipeline with; this is what it falls back to.
    "DirectRunner": "FnApiRunner",
    "FlinkRunner": "FlinkRunner",
    "SparkRunner": "SparkRunner",
    "DataflowRunner": "DataflowRunner",
    "PortableRunner": "PortableRunner",
}


def prepare_with_beam(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    tokenizer: Any,
    out: str | os.PathLike[str],
    *,
    runner: str = "DirectRunner",
    beam_options: Sequence[str] = (),
    field: str = "text",
    separator: str | None = None,
    exclude: str | Sequence[str] = (),
    validation: float = 0.005,
    shards: int | None = None,
    invalid_utf8: str = "error",
    near_duplicates: float | None = None,
) -> dict[str, Any]:
    """Tokenize a corpus into a token store, as `prepare` does, on the workers of a Beam runner.

    Args:
        paths: as for `prepare`; and files, folders and globs behind a scheme (gs://, s3://), which all workers reach.
        tokenizer: or the path of its folder; it pickles, and its class is importable on the workers.
        out: the store's folder. With a scheme, copy it to a local disk to train from it.
        runner: a key of RUNNERS.
        beam_options: Beam's own, as on its command line: "--direct_num_workers=2", "--region=europe-west4" …
        field, separator, exclude, validation, shards, invalid_utf8, near_duplicates: see `prepare`.

    Returns:
        The manifest, as it stands in `out`.

    Raises:
        ImportError: Beam is not installed.
        ValueError: a setting, a runner or one of Beam's options is not accepted.
        SourceError, StoreError: as `prepare`.
        RuntimeError: Beam's, with the words of what a worker raised in its message, where a runner gives no more.
    """
    tokenizer = tokenizers.get(tokenizer)
    settings = settings_of(
        field=field,
        separator=separator,
        exclude=exclude,
        validation=validation,
        shards=shards,
        invalid_utf8=invalid_utf8,
        near_duplicates=near_duplicates,
    )
    options = _options(runner, beam_options)
    given = [os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    files = Files(_find(given, settings["exclude"], field))
    files.found.skipped.report(shown=False)
    fingerprint = fingerprint_of(files, settings, tokenizer_entry(tokenizer))
    job = _BeamPreparation(given, tokenizer, settings, files, fingerprint, options)
    place = os.fspath(out)
    manifest = job.to_remote(place) if is_remote(place) else job.to_local(check_out(place))
    report(manifest, tokenizer, place)
    return manifest


class _BeamPreparation:
    """One run of `prepare_with_beam`: the same for a store on a disk and one behind a scheme."""

    def __init__(
        self,
        paths: list[str],
        tokenizer: Any,
        settings: dict[str, Any],
        files: Files,
        fingerprint: str,
        options: Any,
    ):
        self.paths, self.tokenizer, self.settings, self.files = paths, tokenizer, settings, files
        self.fingerprint, self.options = fingerprint, options
        self.dtype = id_dtype(tokenizer)

    def to_local(self, folder: Path) -> dict[str, Any]:
        if folder.exists() and any(folder.iterdir()):
            return open_finished_store(folder, self.tokenizer, self.settings, self.fingerprint).manifest
        with open_work_dir(folder, self.fingerprint) as work:
            manifest = self.run(str((work / "store").absolute()), str((work / "result.json").absolute()))
            publish_store(work, folder, manifest)
        return manifest

    def to_remote(self, folder: str) -> dict[str, Any]:
        """Shards go to a folder beside, then to their place, then the manifest makes it a store."""
        folder = folder.rstrip("/")
        if (manifest := _manifest_at(folder)) is not None:
            if manifest["fingerprint"] == self.fingerprint:
                _sweep(folder, manifest)  # left if killed right after the manifest was written
                return manifest
            raise StoreError(f"{folder} is a finished store made from other files or settings. Give another `out`.")
        work = f"{_work_of(folder)}/{self.fingerprint[:16]}"
        manifest = self.run(work, f"{work}/result.json")
        for file in _files_of(manifest):
            move(f"{work}/{file}", f"{folder}/{file}")
        write_whole(f"{folder}/manifest.json", [(json.dumps(manifest, indent=1) + "\n").encode()])
        _sweep(folder, manifest)
        return manifest

    def run(self, store: str, result: str) -> dict[str, Any]:
        """Have the pipeline write shards to `store` and its counts to `result`; returns the manifest."""
        import apache_beam

        from tfllm.data.preparation.beam_pipeline import Target, build

        read_options = ReadOptions(self.settings["field"], self.settings["separator"], self.settings["invalid_utf8"])
        chunk_settings = ChunkFileSettings(self.tokenizer, read_options, Path(), self.dtype, minhash_settings_of(self.settings))
        target = Target(store, result, self.settings["validation"], self.settings["shards"])
        with apache_beam.Pipeline(options=self.options) as pipeline:
            build(pipeline, self.files.found.sources, chunk_settings, target)
        _check(self.paths, self.settings["exclude"], self.settings["field"], self.files.found.sources)
        with open_file(result) as file:
            found = json.load(file)
        return manifest_of(
            Totals(**found["totals"] | {"skipped": Counter(found["totals"]["skipped"])}),
            [ShardRecord(**record) for record in found["records"]],
            settings=self.settings,
            identity=tokenizer_entry(self.tokenizer),
            dtype=self.dtype,
            inputs=self.files,
            fingerprint=self.fingerprint,
        )


def _options(runner: str, flags: Sequence[str]) -> Any:
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ImportError("A runner needs Apache Beam: pip install 'tfllm[beam]', in a clone '.[beam]'.") from error
    if runner not in RUNNERS:
        raise ValueError(f"runner={runner!r} is invalid: expected one of {', '.join(RUNNERS)}.")
    options = PipelineOptions([*flags, f"--runner={RUNNERS[runner]}"])
    if runner not in ("FlinkRunner", "SparkRunner", "PortableRunner"):  # whose job servers have options of their own
        unknown: list[str] = []
        options.get_all_options(add_extra_args_fn=lambda parser: unknown.extend(parser.parse_known_args(flags)[1]))
        if unknown:
            raise ValueError(
                f"beam_options={unknown} is invalid: expected options of Apache Beam, which would ignore these. Check their "
                "spelling: --direct_num_workers=2, --region=europe-west4 …"
            )
    return options


def _find(paths: Sequence[str], exclude: Sequence[str], field: str) -> Found:
    local = [path for path in paths if not is_remote(path)]
    here = find_sources(local, exclude, field) if local or not paths else Found([], SkippedFiles())
    there = _find_remote(paths, exclude, field)
    there.skipped.update(here.skipped)
    return Found(sorted([*here.sources, *there.sources], key=lambda source: source.path), there.skipped)


def _find_remote(paths: Sequence[str], exclude: Sequence[str], field: str) -> Found:
    sources, skipped = {}, SkippedFiles()
    for found in (find_remote(path, exclude, field) for path in paths if is_remote(path)):
        sources.update({source.path: source for source in found.sources})
        skipped.update(found.skipped)
    return Found(list(sources.values()), skipped)


def _check(paths: Sequence[str], exclude: Sequence[str], field: str, sources: Sequence[Source]) -> None:
    """Raise SourceError if a file changed while it was read. What is not on a disk is listed as it was first, not asked for
    name by name: a name may look like a glob, and a listing tells of thousands of files at once."""
    check_unchanged([source for source in sources if not is_remote(source.path)])
    before = {source for source in sources if is_remote(source.path)}
    if changed := before.symmetric_difference(_find_remote(paths, exclude, field).sources):
        first = min(source.path for source in changed)
        raise SourceError(f"{first} changed while it was read. Call again when nothing writes to it.")


def _work_of(folder: str) -> str:
    parent, _, name = folder.rpartition("/")
    return f"{parent}/.{name}.preparing"


def _files_of(manifest: dict[str, Any]) -> list[str]:
    tokens = [record["file"] for split in manifest["splits"].values() for record in split["shards"]]
    return [name for file in tokens for name in (file, file.removesuffix("tokens") + "offsets")]


def _sweep(folder: str, manifest: dict[str, Any]) -> None:
    """Delete what this run and killed ones, of other settings too, left beside a finished store and in it."""
    remove_folder(_work_of(folder))
    shards = {name for name in names_in(folder) if name.endswith((".tokens", ".offsets"))}
    remove([f"{folder}/{name}" for name in sorted(shards - set(_files_of(manifest)))])


def _manifest_at(folder: str) -> dict[str, Any] | None:
    if not exists(f"{folder}/manifest.json"):
        return None
    with open_file(f"{folder}/manifest.json") as file:
        manifest: dict[str, Any] = json.load(file)
    if manifest.get("checksum") != manifest_checksum(manifest):
        raise StoreError(f"{folder}/manifest.json was changed or damaged: its checksum does not fit. Give another `out`.")
    return manifest
