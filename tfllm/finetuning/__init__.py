"""Fine-tuning: `finetune` takes a pretrained encoder and labelled data, and writes a run with its best model and its scores.

Its components are public, too: `read`, `build_model`, `check_data`, `evaluator`.
"""

from tfllm.finetuning.components import build_model, check_data, evaluator, learner, read
from tfllm.finetuning.run import finetune

__all__ = ["build_model", "check_data", "evaluator", "finetune", "learner", "read"]
