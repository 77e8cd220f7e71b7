"""A mini decoder on Python's own standard library: the demo.

Command:   make demo      (or: python training/pretrain_causal_mini.py)
Hardware:  2 CPU cores, 2 GB of memory
Minutes:   6 on 2 cores
Expected:  1.09 held-out bits per byte; xz -9 makes 1.33 of the same files, gzip -9 1.63
           (Python 3.11.7 with its tests; other builds hold other files)
"""

from causal_recipe import Recipe, main

import tfllm

RECIPE = Recipe(
    name="demo",
    config=tfllm.preset("llama-mini", vocab_size=4096),
    tokenizer_bytes=4 << 20,
    sequence_length=128,
    batch_size=16,
    epochs=12,
    steps_per_epoch=100,
    learning_rate=4e-3,
    decay_fraction=0.4,
)

if __name__ == "__main__":
    main(RECIPE)
