"""The commands of `tfllm`. Each is a short function on the Python API. TensorFlow is imported only when a command runs."""
