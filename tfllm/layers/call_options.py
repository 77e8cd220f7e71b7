"""What is a property of one call of a layer, not of the layer: it travels as the keyword `options` from the model down.

    model(features, options=CallOptions(gradients=False))

Whoever builds a graph says in `options` what it knows about the graph. A layer passes the options on to the layers it calls.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class CallOptions:
    """Nothing special unless a field says so. Keras takes it as one value, not as a nested structure."""

    compiled: bool = False
    """Large element-wise functions are compiled by XLA (`layers/fused.py`): in training steps."""
    gradients: bool = True
    """Gradients may be taken. False: none is registered, so the graph and its weights can be freed (`custom_gradient.py`)."""
    one_row: bool = False
    """Every matrix product of the call has one row, or none."""
    in_loop: bool = False
    """The call is part of a loop, so preparing a matrix once for all rounds pays (`packed.py`)."""


INFERENCE = CallOptions(gradients=False)
"""For graphs that only answer."""
DECODING = CallOptions(gradients=False, in_loop=True)
"""For the steps of a decoding loop."""
TRAINING = CallOptions(compiled=True)
"""For training steps."""
