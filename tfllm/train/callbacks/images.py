"""Pictures for TensorBoard: uint8 [height, width, 4]. Names are written as far as a font for them is installed (`fonts.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.train.callbacks.fonts import installed, writable

LARGEST = 20
"""Inches, of 100 pixels, that a picture of classes has at most."""

COUNTED = 20
"""Classes up to which the counts can be read."""

NAMED = 60
"""Classes up to which the names can be read."""


def confusion_matrix_image(confusion: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Truth down, prediction across, each row as shares of its sum. int [C, C].

    The counts stand in the cells of up to 20 classes; of more than 60, the numbers of some stand for the names.
    """
    figure, canvas = _figure(width=min(LARGEST, 2 + 0.7 * len(labels)), height=min(LARGEST, 1.5 + 0.6 * len(labels)))
    axes = figure.add_subplot(xlabel="predicted", ylabel="true")
    axes.imshow(confusion / np.maximum(confusion.sum(1, keepdims=True), 1), vmin=0, vmax=1, cmap="Blues")
    if len(labels) <= NAMED:
        names, style = _written(labels)
        axes.set_xticks(range(len(labels)), names, rotation=90, **style)
        axes.set_yticks(range(len(labels)), names, **style)
    for (row, column), count in np.ndenumerate(confusion) if len(labels) <= COUNTED else ():
        share = count / max(confusion[row].sum(), 1)
        axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color="white" if share > 0.5 else "black")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def attention_image(heads: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Queries down, keys across, one panel a head, of which four stand in a row. float32 [N, S, S].

    All panels are one image, and names stand at its edges only: to write names takes most of the time.
    """
    count, size, _ = heads.shape
    columns = min(4, count)
    rows = -(-count // columns)
    height, width = size + _ABOVE, size + _BESIDE
    panels = np.full([rows * columns, height, width], np.nan, np.float32)
    panels[:count, _ABOVE:, _BESIDE:] = heads
    whole = panels.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    figure, canvas = _figure(width=4 * columns, height=4 * rows)
    axes = figure.add_subplot(frame_on=False)
    axes.imshow(whole, vmin=0, vmax=1, cmap="viridis")
    words, style = _written(names)
    down = [row * height + _ABOVE + place for row in range(rows) for place in range(size)]
    across = [column * width + _BESIDE + place for column in range(columns) for place in range(size)]
    axes.set_yticks(down, words * rows, fontsize=5, **style)
    axes.set_xticks(across, words * columns, rotation=90, fontsize=5, **style)
    for i in range(count):
        row, column = divmod(i, columns)
        axes.text(column * width + _BESIDE + size / 2, row * height + _ABOVE - 1, f"head {i}", ha="center")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


_ABOVE, _BESIDE = 4, 2
"""Of a panel, in its cells: where its name stands, and what parts it from the one before."""


def _written(names: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Names as installed fonts can write them, and how."""
    return [writable(name) for name in names], {"fontfamily": list(installed()), "parse_math": False}


def _figure(width: float, height: float):  # type: ignore[no-untyped-def]
    """A figure and the canvas it is drawn on; without pyplot, whose state belongs to the user."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="tight")
    return figure, FigureCanvasAgg(figure)
