"""CoNLL-2003: names of persons, organisations, places and others in English news.

Command:   python training/tag_conll2003.py
"""

import datasets
from finetune_recipe import Recipe, main

from tfllm import Finetuning, TokenClassifier
from tfllm.data import tagging

RECIPE = Recipe(
    name="conll2003",
    data=datasets.conll2003,
    read=lambda path, tokenizer, **labels: tagging(path, tokenizer, max_length=128, **labels),
    model=TokenClassifier.from_pretrained,
    settings=Finetuning(epochs=4, batch_size=32, learning_rate=2e-4, layer_decay=0.9),
    measure="f1",
)

if __name__ == "__main__":
    main(RECIPE)
