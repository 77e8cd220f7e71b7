"""Lines of a CSV or TSV file in, rows and the lines they begin in out.

How a table is written, its first line says, which names the columns:

    text,label      .csv: cells part at commas, and are quoted as in RFC 4180
    text;label      at semicolons (spreadsheets where a comma is decimal), or at tabs, where there is no comma
    sep=;           before that line: a spreadsheet says it itself
    text<tab>label  .tsv: cells part at tabs, and nothing is quoted, as in GLUE's files; but a cell like "so ""it"" goes", which
                    has a quote at each end and doubled ones between, was quoted, and is read so
    "text"<tab>…    .tsv: all is quoted as in .csv
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from tfllm.corpus.formats import PathLike, SourceError


def table_rows(lines: Iterable[tuple[int, str]], path: PathLike, *, tabs: bool) -> Iterator[tuple[dict[str, str], int]]:
    """The rows of a table and the lines they begin in; the first row names the columns. Cells may hold line breaks.

    Raises:
        SourceError: broken quotes, another number of columns, a column named twice; no row.
    """
    header: list[str] = []
    blank: list[int] = []
    empty = True
    for cells, number in _cells(lines, path, tabs):
        if not cells:
            blank += [number] if len(header) == 1 else []  # of one column, an empty cell is an empty line
        elif not header:
            header = [cell.strip() for cell in cells]
            if len(set(header)) < len(header):
                raise SourceError(
                    f"{path}, line {number}: the first line names a column twice: {header}. Give each its own name."
                )
        elif len(cells) != len(header):
            raise SourceError(
                f"{path}, line {number}: {len(cells)} columns: expected {len(header)}, as in the first line ({header}). "
                "Correct the line."
            )
        else:
            yield from (({header[0]: ""}, each) for each in blank)  # but for those at the end
            blank, empty = [], False
            yield dict(zip(header, cells, strict=True)), number
    if not header:
        raise SourceError(f"{path} is empty. The first line names the columns, each other line is a record.")
    if empty:
        raise SourceError(f"{path} has no lines below its first, which names the columns ({header}). Give one a record.")


def columns_of(lines: Iterable[tuple[int, str]], path: PathLike, *, tabs: bool) -> list[str]:
    """The first row of a table: the names of its columns; [] of an empty file."""
    return next(([cell.strip() for cell in cells] for cells, _ in _cells(lines, path, tabs) if cells), [])


def _cells(lines: Iterable[tuple[int, str]], path: PathLike, tabs: bool) -> Iterator[tuple[list[str], int]]:
    # The csv module refuses cells over 128 KiB, which reviews and articles can be.
    csv.field_size_limit(sys.maxsize)
    texts = (line for _, line in lines)
    first = next(texts, "")
    said = re.fullmatch(r'"?sep=(.)"?\s*', first)
    begin, names = (2, next(texts, "")) if said else (1, first)
    format = _format(names, tabs) | ({"delimiter": said[1]} if said else {})
    before = begin
    reader = csv.reader(chain([names], texts), **format)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise SourceError(f"{path}, line {begin}: {_explained(error)}") from None
        if cells is None:
            return
        yield [_unquoted(cell) for cell in cells] if "quoting" in format else cells, begin
        begin = reader.line_num + before


def _format(names: str, tabs: bool) -> dict[str, Any]:
    """What the csv module calls the format of a table whose first line this is.

    text,label -> delimiter ","     text;label -> delimiter ";"
    """
    if tabs and not names.startswith('"'):
        return {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    line = names.splitlines()[:1]
    parts = ((len(next(csv.reader(line, delimiter=each), [])), each) for each in ("\t" if tabs else ",;\t"))
    return {"delimiter": next((each for count, each in parts if count > 1), ","), "strict": True}


def _unquoted(cell: str) -> str:
    """so ""it"" goes, between quotes -> so "it" goes; other cells as they are."""
    doubled = '""' in cell[1:-1] and re.fullmatch(r'"(?:[^"]|"")*"', cell)
    return cell[1:-1].replace('""', '"') if doubled else cell


def _explained(error: csv.Error) -> str:
    # The module tells its errors apart by their messages only, and this one speaks of how to open files.
    if str(error).startswith("new-line character"):
        return "a carriage return (CR) without a line feed (LF). End lines with LF or CRLF, and quote a cell that holds a CR."
    return f"{error}. Double the quotes inside a quoted cell, and close it."
