"""Models, and how they are kept in folders."""

from tfllm.models.causal_lm import CausalLM
from tfllm.models.folder import load, save
from tfllm.models.inference import InferenceModel, for_inference
from tfllm.models.layer_replacement import replace_layers
from tfllm.models.masked_lm import MaskedLM
from tfllm.models.question_answerer import QuestionAnswerer
from tfllm.models.text_classifier import TextClassifier
from tfllm.models.text_embedder import TextEmbedder
from tfllm.models.text_regressor import TextRegressor
from tfllm.models.token_classifier import TokenClassifier

__all__ = [
    "CausalLM",
    "InferenceModel",
    "MaskedLM",
    "QuestionAnswerer",
    "TextClassifier",
    "TextEmbedder",
    "TextRegressor",
    "TokenClassifier",
    "for_inference",
    "load",
    "replace_layers",
    "save",
]
