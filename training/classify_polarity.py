"""Sentences of film reviews: praise or blame.

Command:   python training/classify_polarity.py
Hardware:  2 CPU cores, 4 GB
Expected:  0.801 accuracy on the test file, 5 minutes with other work on the cores.
"""

from functools import partial

import datasets
from finetune_recipe import Recipe, main

from tfllm import Finetuning, TextClassifier
from tfllm.data import text_classification

RECIPE = Recipe(
    name="polarity",
    data=datasets.polarity_sentences,
    read=lambda path, tokenizer, **labels: text_classification(path, tokenizer, max_length=96, **labels),
    model=partial(TextClassifier.from_pretrained, pooling="mean"),
    settings=Finetuning(epochs=4, batch_size=16, learning_rate=1e-4, layer_decay=0.9, best="val_loss"),
    measure="accuracy",
)

if __name__ == "__main__":
    main(RECIPE)
