from .huggingface import from_huggingface as from_huggingface
from .huggingface import to_huggingface as to_huggingface
from .keras_hub import from_keras_hub as from_keras_hub
