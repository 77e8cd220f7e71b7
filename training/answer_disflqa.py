"""Disfl-QA: answers in a passage to spoken questions with slips of the tongue, some without an answer.

Command:   python training/answer_disflqa.py
Hardware:  2 CPU cores, 4 GB
Expected:  0.291 F1 on the test file, nearly all of it for "no answer": docs/results.md. 5 minutes.
"""

import datasets
from finetune_recipe import Recipe, main

from tfllm import Finetuning, QuestionAnswerer
from tfllm.data import question_answering

RECIPE = Recipe(
    name="disflqa",
    data=datasets.disflqa,
    read=lambda path, tokenizer, **_: question_answering(path, tokenizer, max_length=256, stride=64),
    model=QuestionAnswerer.from_pretrained,
    settings=Finetuning(epochs=8, batch_size=16, learning_rate=2e-4),
    measure="f1",
)

if __name__ == "__main__":
    main(RECIPE)
