"""Training: optimizers, schedules, the step that `fit` runs, losses, metrics, checkpoints and callbacks."""

from tfllm.train.distribution.strategies import WorkerLostError, strategy
from tfllm.train.optimizers import adamw, averaged_weights, lion, muon
from tfllm.train.runs.run import Run
from tfllm.train.schedules import schedule
from tfllm.train.step_errors import NonFiniteError

__all__ = ["NonFiniteError", "Run", "WorkerLostError", "adamw", "averaged_weights", "lion", "muon", "schedule", "strategy"]
