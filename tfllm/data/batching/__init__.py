"""Token stores in, batches for language models out: each a function of (seed, step)."""
