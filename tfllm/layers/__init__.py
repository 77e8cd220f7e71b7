"""The parts of a Transformer. They take tensors, scalars and strings; none knows a config, a tokenizer or a task."""
