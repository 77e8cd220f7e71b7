from .config import GenerationConfig as GenerationConfig
from .scoring import TextScore as TextScore
from .scoring import score as score
from .text import Generation as Generation
from .text import generate as generate
from .text import stream as stream
