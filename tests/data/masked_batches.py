"""Small stores and a look at masked batches, for the tests of data."""

import warnings

import byte_like
import numpy as np

from tfllm.data import masked_lm, prepare

FRAMED = byte_like.Framed()


def make(folder, texts, tokenizer=FRAMED, **settings):
    """A store of these documents."""
    folder.mkdir()
    (folder / "a.txt").write_text("\x1e".join(texts))
    settings = {"separator": "\x1e", "processes": 1, "progress": False, "validation": 0, **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few documents for validation
        return prepare(folder, tokenizer, folder / "store", **settings)


def batches(*args, steps=10**6, **settings):
    return [{name: value.numpy() for name, value in batch.items()} for batch in masked_lm(*args, **settings).take(steps)]


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def unmasked(batch):
    """[B, S]: the rows before anything was hidden."""
    ids = batch["token_ids"].copy()
    rows, columns = np.nonzero(batch["target_weights"])
    ids[rows, batch["target_places"][rows, columns]] = batch["target_ids"][rows, columns]
    return ids
