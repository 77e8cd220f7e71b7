"""BBC News topics: which of five a report is about.

Command:   python training/classify_bbc_news.py
Hardware:  2 CPU cores, 4 GB
Expected:  0.972 accuracy on the test file, 10 minutes with other work on the cores.
"""

from functools import partial

import datasets
from finetune_recipe import Recipe, main

from tfllm import Finetuning, TextClassifier
from tfllm.data import text_classification

RECIPE = Recipe(
    name="bbc-news",
    data=datasets.bbc_news,
    read=lambda path, tokenizer, **labels: text_classification(path, tokenizer, max_length=256, **labels),
    model=partial(TextClassifier.from_pretrained, pooling="mean"),
    settings=Finetuning(epochs=3, batch_size=16, learning_rate=1e-4, best="val_loss"),
    measure="accuracy",
)

if __name__ == "__main__":
    main(RECIPE)
