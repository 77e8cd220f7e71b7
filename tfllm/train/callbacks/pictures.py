"""Pictures for TensorBoard: uint8 [height, width, 4]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LARGEST = 20
"""Inches, of 100 pixels, that a picture of classes has at most."""

COUNTED = 20
"""Classes up to which the counts can be read."""

NAMED = 60
"""Classes up to which the names can be read."""


def confusion_picture(confusion: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Truth down, prediction across, each row as shares of its sum. int [C, C].

    The counts stand in the cells of up to 20 classes; of more than 60, the numbers of some stand for the names.
    """
    figure, canvas = _figure(width=min(LARGEST, 2 + 0.7 * len(labels)), height=min(LARGEST, 1.5 + 0.6 * len(labels)))
    axes = figure.add_subplot(xlabel="predicted", ylabel="true")
    axes.imshow(confusion / np.maximum(confusion.sum(1, keepdims=True), 1), vmin=0, vmax=1, cmap="Blues")
    if len(labels) <= NAMED:
        axes.set_xticks(range(len(labels)), labels, rotation=90, parse_math=False)
        axes.set_yticks(range(len(labels)), labels, parse_math=False)
    for (row, column), count in np.ndenumerate(confusion) if len(labels) <= COUNTED else ():
        share = count / max(confusion[row].sum(), 1)
        axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color="white" if share > 0.5 else "black")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def attention_picture(heads: np.ndarray, names: list[str]) -> np.ndarray:
    """Queries down, keys across, one panel a head. float32 [N, S, S]."""
    columns = min(4, len(heads))
    rows = -(-len(heads) // columns)
    figure, canvas = _figure(width=4 * columns, height=4 * rows)
    places = range(len(names))
    for i, head in enumerate(heads):
        axes = figure.add_subplot(rows, columns, i + 1, title=f"head {i}")
        axes.imshow(head, vmin=0, vmax=1, cmap="viridis")
        axes.set_xticks(places, names, rotation=90, fontsize=5, parse_math=False)
        axes.set_yticks(places, names, fontsize=5, parse_math=False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def _figure(width: float, height: float):  # type: ignore[no-untyped-def]
    """A figure and the canvas it is drawn on; without pyplot, whose state belongs to the user."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="tight")
    return figure, FigureCanvasAgg(figure)
