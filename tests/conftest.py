"""For all tests: tfllm before TensorFlow, which it asks to run oneDNN."""

import tfllm  # noqa: F401
