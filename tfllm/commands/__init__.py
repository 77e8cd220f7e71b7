"""The commands of `tfllm`, one thin function each on the Python API. TensorFlow is imported when a command runs."""
