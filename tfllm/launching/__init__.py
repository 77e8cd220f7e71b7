"""Runs one command in several local processes, with the TF_CONFIG that tf.distribute reads.

Input: a command. Output: its exit code. Linux only; imports no TensorFlow. For clusters of machines see docs/launching.md.
"""

import warnings

from tfllm.launching.launcher import launch
from tfllm.launching.supervisor import EXIT_TERMINATED

__all__ = ["EXIT_TERMINATED", "launch"]


def __getattr__(name: str) -> int:
    if name == "ASKED_TO_END":
        warnings.warn("tfllm.launching.ASKED_TO_END is now EXIT_TERMINATED", DeprecationWarning, stacklevel=2)
        return EXIT_TERMINATED
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
