"""Local workers of one command, with the TF_CONFIG that tf.distribute reads. A command in, its exit code out.

Linux only; imports no TensorFlow. How TF_CONFIG gets to the machines of a cluster: docs/launching.md.
"""

from tfllm.launching.launcher import launch
from tfllm.launching.supervisor import ASKED_TO_END

__all__ = ["ASKED_TO_END", "launch"]
