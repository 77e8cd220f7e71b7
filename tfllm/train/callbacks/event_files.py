"""Cleans TensorBoard's event files when a run continues: a process that was killed leaves points that will be written again.

Input: a folder of event files, local or at an address. Output: the same folder, in which each tag has each step once.
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

_RECORD_OVERHEAD = 16
"""Bytes of a record in addition to its content: length, checksums."""


class EventFile(NamedTuple):
    """The contents of one event file."""

    path: str
    points: list[list[Point]]
    """The points of each record. The first record has none: it holds the version of the format."""
    complete: bool
    """Whether its last record was written to the end."""


def event_files(folder: str) -> list[EventFile]:
    """The event files of a folder, the oldest first.

    loss at steps 10 and 20  ->  points [[], [("loss", 10)], [("loss", 20)]]
    """
    files = []
    for path in sorted(tf.io.gfile.glob(f"{folder}/events.out.tfevents.*")):
        records = list(RawEventFileLoader(path).Load())
        size = sum(len(record) + _RECORD_OVERHEAD for record in records)
        files.append(EventFile(path, [_points(record) for record in records], size == tf.io.gfile.stat(path).length))
    return files


def prune(files: list[EventFile], wanted: Callable[[str, int], bool]) -> set[Point]:
    """Removes points that are not wanted, points that a later file has again, and a last record that was written in part.

    Args:
        files: of one folder, the oldest first.
        wanted: says of a tag and a step whether the point stays.

    Returns:
        The points that are left.
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
        elif not all(kept) or not file.complete:
            _rewrite(file.path, kept[::-1])
    return left


def _rewrite(path: str, kept: list[bool]) -> None:
    """Keeps the records whose flag is True. The new file replaces the old one by a rename."""
    partial = f"{path.rpartition('/')[0]}/rewritten.partial"
    if tf.io.gfile.exists(partial):
        tf.io.gfile.remove(partial)
    with tf.io.TFRecordWriter(partial) as file:
        for record, stays in zip(RawEventFileLoader(path).Load(), kept, strict=True):
            if stays:
                file.write(record)
    tf.io.gfile.rename(partial, path, overwrite=True)


def _points(record: bytes) -> list[Point]:
    event = Event.FromString(record)
    return [(value.tag, event.step) for value in event.summary.value]
