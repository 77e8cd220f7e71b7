"""What a prompt can be: other scripts, controls, nothing, runs of spaces."""

PROMPTS = ["The quick", "", "  x\t\n", "中文 naïve 😀", "def f(self):\n        return 1"]
