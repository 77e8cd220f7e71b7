"""BoolQ: does a passage answer a question with yes?

Command:   python training/classify_boolq.py
Hardware:  2 CPU cores, 4 GB
Expected:  0.680 accuracy on the test file, 15 minutes with other work on the cores.
"""

from functools import partial

import datasets
from finetune_recipe import Recipe, main

from tfllm import Finetuning, TextClassifier
from tfllm.data import text_classification

RECIPE = Recipe(
    name="boolq",
    data=datasets.boolq,
    read=lambda path, tokenizer, **labels: text_classification(path, tokenizer, pair="text_pair", max_length=192, **labels),
    model=partial(TextClassifier.from_pretrained, pairs=True, pooling="mean"),
    settings=Finetuning(epochs=3, batch_size=32, learning_rate=1e-4),
    measure="accuracy",
)

if __name__ == "__main__":
    main(RECIPE)
