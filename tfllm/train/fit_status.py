"""Flags that say where a `fit` stands and whether it is asked to stop. The model has them in `fit_status`.

Input: signals, and what other workers know. Output: flags that the training function, the checkpoint callback and the watchdog
read.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FitStatus:
    """The state of the current `fit`."""

    running: bool = False
    """`fit` runs, so a step is due."""
    preemption_requested: bool = False
    """This process received SIGTERM."""
    preemption_agreed: bool = False
    """All workers know of a request: they save and leave `fit` after this step."""
    steps_to_skip: int = 0
    """Steps of this epoch that an earlier process did. `fit` counts them and runs nothing."""

    def skip(self, steps: int) -> bool:
        """Counts the next `steps` steps as done and returns True, if an earlier process did them."""
        if self.steps_to_skip <= 0:
            return False
        self.steps_to_skip -= steps
        return True
