"""Draws images for TensorBoard.

Input: a confusion matrix, or attention weights, with names. Output: uint8 [height, width, 4]. Characters of names that no
    installed
font has are escaped (`fonts.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfllm.train.callbacks.fonts import installed, writable

MAX_INCHES = 20
"""Largest width and height of a confusion matrix, in inches of 100 pixels."""

MAX_WITH_COUNTS = 20
"""Counts are written in the cells of so many classes at most."""

MAX_WITH_NAMES = 60
"""Names are written for so many classes at most; for more, some of their numbers."""


def confusion_matrix_image(confusion: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Draws a confusion matrix, int [C, C]: a row per true class, a column per predicted class, colours by share of the row."""
    figure, canvas = _figure(width=min(MAX_INCHES, 2 + 0.7 * len(labels)), height=min(MAX_INCHES, 1.5 + 0.6 * len(labels)))
    axes = figure.add_subplot(xlabel="predicted", ylabel="true")
    axes.imshow(confusion / np.maximum(confusion.sum(1, keepdims=True), 1), vmin=0, vmax=1, cmap="Blues")
    if len(labels) <= MAX_WITH_NAMES:
        names, style = _written(labels)
        axes.set_xticks(range(len(labels)), names, rotation=90, **style)
        axes.set_yticks(range(len(labels)), names, **style)
    for (row, column), count in np.ndenumerate(confusion) if len(labels) <= MAX_WITH_COUNTS else ():
        share = count / max(confusion[row].sum(), 1)
        axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color="white" if share > 0.5 else "black")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def attention_image(heads: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Draws attention weights, float32 [N, S, S]: a panel per head, four in a row; a row per query, a column per key.

    All panels are drawn as one image with names at its edges only, because writing names takes most of the time.
    """
    count, size, _ = heads.shape
    columns = min(4, count)
    rows = -(-count // columns)
    height, width = size + _MARGIN_TOP, size + _MARGIN_LEFT
    panels = np.full([rows * columns, height, width], np.nan, np.float32)
    panels[:count, _MARGIN_TOP:, _MARGIN_LEFT:] = heads
    image = panels.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    figure, canvas = _figure(width=4 * columns, height=4 * rows)
    axes = figure.add_subplot(frame_on=False)
    axes.imshow(image, vmin=0, vmax=1, cmap="viridis")
    words, style = _written(names)
    down = [row * height + _MARGIN_TOP + place for row in range(rows) for place in range(size)]
    across = [column * width + _MARGIN_LEFT + place for column in range(columns) for place in range(size)]
    axes.set_yticks(down, words * rows, fontsize=5, **style)
    axes.set_xticks(across, words * columns, rotation=90, fontsize=5, **style)
    for i in range(count):
        row, column = divmod(i, columns)
        axes.text(column * width + _MARGIN_LEFT + size / 2, row * height + _MARGIN_TOP - 1, f"head {i}", ha="center")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


_MARGIN_TOP, _MARGIN_LEFT = 4, 2
"""Space of a panel, in cells: for its name, and between two panels."""


def _written(names: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Names with escapes, and the arguments of Matplotlib that draw them."""
    return [writable(name) for name in names], {"fontfamily": list(installed()), "parse_math": False}


def _figure(width: float, height: float):  # type: ignore[no-untyped-def]
    """A figure and its canvas. Without pyplot, whose global state belongs to the user."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="tight")
    return figure, FigureCanvasAgg(figure)
