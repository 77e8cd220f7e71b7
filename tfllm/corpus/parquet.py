"""Parquet files in: their columns, and their rows as mappings from column to value.

pyarrow is imported where a file is opened: most corpora have none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tfllm.corpus.filesystem import open_file
from tfllm.corpus.formats import PathLike, SourceError

BATCH_ROWS = 256


@contextmanager
def parquet_file(path: PathLike) -> Iterator[Any]:
    """A `pyarrow.parquet.ParquetFile`, open.

    Raises:
        SourceError: the file is none, or is damaged where it is read.
        OSError: it cannot be opened.
    """
    import pyarrow
    import pyarrow.parquet

    with open_file(os.fspath(path)) as raw:
        try:
            with pyarrow.parquet.ParquetFile(raw) as file:
                yield file
        except (pyarrow.ArrowException, OSError) as error:
            raise SourceError(f"{path}: not a Parquet file, or damaged ({error}). Replace it or exclude it.") from error


def parquet_records(path: PathLike) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The rows of a file, each with its place. Lists, structs and dictionary types become Python's values; null is None.

        columns text: "fine" "so"; label (dictionary): "pos" "neg"
        -> {"text": "fine", "label": "pos"}, "t.parquet, row 1"
           {"text": "so", "label": "neg"}, "t.parquet, row 2"

    Raises:
        SourceError: as `parquet_file`; two columns of a name; a string is not UTF-8.
    """
    row = 0
    with parquet_file(path) as file:
        names = file.schema_arrow.names
        if len(set(names)) < len(names):
            raise SourceError(f"{path}: two columns have the same name: {names}. Give each its own name.")
        for batch in file.iter_batches(BATCH_ROWS):
            for columns in _rows(batch, path, row):
                row += 1
                yield columns, f"{path}, row {row}"


def _rows(batch: Any, path: PathLike, before: int) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
        return rows
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            raise SourceError(
                f"{path}, row {before + 1}: byte {error.start} of a string (0x{error.object[error.start]:02X}) is not UTF-8. "
                "Write the file again from UTF-8 text."
            ) from None
        return [columns for each in range(batch.num_rows) for columns in _rows(batch.slice(each, 1), path, before + each)]
