"""Models, and how they are kept in folders."""

from tfllm.models.causal_lm import CausalLM
from tfllm.models.folder import load, save

__all__ = ["CausalLM", "load", "save"]
