"""BBC News topics: which of five a report is about.

Command:   python training/classify_bbc_news.py
"""

import datasets
from finetune_recipe import Recipe, main

from tfllm import Finetuning, TextClassifier
from tfllm.data import text_classification

RECIPE = Recipe(
    name="bbc-news",
    data=datasets.bbc_news,
    read=lambda path, tokenizer, **labels: text_classification(path, tokenizer, max_length=256, **labels),
    model=TextClassifier.from_pretrained,
    settings=Finetuning(epochs=3, batch_size=16, learning_rate=1e-4),
    measure="accuracy",
)

if __name__ == "__main__":
    main(RECIPE)
