"""Event files that TensorBoard reads, made right when a run goes on: a life that was killed leaves points that come again.

Enters: a folder of event files, here or at an address. Leaves: the same folder, in which each tag has each step once.
Source: the record format of `tf.io.TFRecordWriter` (length, checksum, bytes, checksum), one `Event` a record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

Point = tuple[str, int]
"""A tag and a step."""

_FRAME = 16
"""Bytes of a record beside its content."""


class EventFile(NamedTuple):
    """What stands in one file."""

    path: str
    points: list[list[Point]]
    """Of each record; none in the first, which says the format's version."""
    whole: bool
    """Was its last record written to the end?"""


def event_files(folder: str) -> list[EventFile]:
    """The event files of a folder, the oldest first.

    loss at steps 10 and 20  ->  points [[], [("loss", 10)], [("loss", 20)]]
    """
    files = []
    for path in sorted(tf.io.gfile.glob(f"{folder}/events.out.tfevents.*")):
        records = list(RawEventFileLoader(path).Load())
        size = sum(len(record) + _FRAME for record in records)
        files.append(EventFile(path, [_points(record) for record in records], size == tf.io.gfile.stat(path).length))
    return files


def keep(files: list[EventFile], wanted: Callable[[str, int], bool]) -> set[Point]:
    """Removes from files all but what is wanted, what comes again later, and a last record that was half written.

    Args:
        files: of one folder, in their order.
        wanted: is a tag's step to stay?

    Returns:
        What is left.
    """
    left: set[Point] = set()
    for file in reversed(files):
        kept = []
        for points in reversed(file.points):
            kept.append(not points or any(wanted(*point) and point not in left for point in points))
            if kept[-1]:
                left.update(points)
        if not any(points for points, stays in zip(reversed(file.points), kept, strict=True) if stays):
            tf.io.gfile.remove(file.path)
        elif not all(kept) or not file.whole:
            _rewrite(file.path, kept[::-1])
    return left


def _rewrite(path: str, kept: list[bool]) -> None:
    """Leaves out records. Written beside and renamed: a file is the old one or the new one."""
    beside = f"{path.rpartition('/')[0]}/rewritten.partial"
    if tf.io.gfile.exists(beside):
        tf.io.gfile.remove(beside)
    with tf.io.TFRecordWriter(beside) as file:
        for record, stays in zip(RawEventFileLoader(path).Load(), kept, strict=True):
            if stays:
                file.write(record)
    tf.io.gfile.rename(beside, path, overwrite=True)


def _points(record: bytes) -> list[Point]:
    event = Event.FromString(record)
    return [(value.tag, event.step) for value in event.summary.value]
