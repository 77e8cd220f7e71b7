"""Fine-tuning from end to end: a pretrained encoder and labelled data in; a run with its best model, and scores, out.

The parts are public, too: `tfllm.data` reads the files, the models learn by `fit`, `train.scores` counts. This is how they go
together.
"""

from tfllm.finetuning.run import finetune
from tfllm.finetuning.tasks import build_model, check_data, evaluator, learner, read

__all__ = ["build_model", "check_data", "evaluator", "finetune", "learner", "read"]
