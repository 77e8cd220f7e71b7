"""Writes the golden files: what Hugging Face's models in PyTorch say, for tests that run without PyTorch.

    python tests/parity/record.py

The weights are not in them: they are drawn again from the seed and the parameters' names (`cases.weight`). Logits, loss
and the gradient of every parameter are kept whole, float32.
"""

from __future__ import annotations

import numpy as np
from cases import CASES, GOLDEN, batch
from peers import theirs

SEED = 0

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, case in CASES.items():
        outcome = theirs(case, batch(case, SEED), SEED)
        gradients = {f"gradient/{each}": value for each, value in outcome.gradients.items()}
        path = GOLDEN / f"{name}.npz"
        np.savez_compressed(path, **outcome.logits, loss=outcome.loss, **gradients)
        print(f"{path.name}: {path.stat().st_size // 1024} KB, loss {outcome.loss:.4f}")
