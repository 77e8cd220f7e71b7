"""Writes the golden file of hidden states and attention probabilities of Hugging Face's models in PyTorch.

    python tests/parity/record_states.py

Inputs: the cases named in `STATES`, their batch and weights (`cases.py`). Output: `states.npz`, float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from cases import CASES, GOLDEN, STATES, batch, weight
from peers import peer


def states(name: str, seed: int) -> dict[str, np.ndarray]:
    """Of one case: hidden states [L + 1, B, S, D] and attentions [L, B, N, S, S]."""
    case = CASES[name]
    model: Any = peer(case).float().eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weight(path, tuple(parameter.shape), seed)))
        tensors = {key: torch.from_numpy(value).long() for key, value in batch(case, seed).items() if value.dtype == np.int32}
        inputs = dict(input_ids=tensors["token_ids"], output_hidden_states=True, output_attentions=True)
        if case.config.causal:
            found = model(**inputs, position_ids=tensors["positions"])
        else:
            found = model(**inputs, attention_mask=tensors["segment_ids"], token_type_ids=tensors["type_ids"])
    kinds = {"hidden_states": found.hidden_states, "attentions": found.attentions}
    return {f"{name}/{kind}": torch.stack(each).numpy() for kind, each in kinds.items()}


if __name__ == "__main__":
    found = [states(name, 0) for name in STATES]
    np.savez_compressed(GOLDEN / "states.npz", **{key: value for each in found for key, value in each.items()})
    print(f"states.npz: {(GOLDEN / 'states.npz').stat().st_size // 1024} KB")
