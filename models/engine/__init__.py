"""Inference on the CPU: an int4 graph on onnxruntime, key/value slots, continuous batching, sampling.

Needs numpy, onnxruntime, tokenizers and jinja2; never torch.
"""

from models.engine import grammar
from models.engine.batch import Answer, generate
from models.engine.engine import Draining, Engine, QueueFull
from models.engine.grammar import Grammar, Vocabulary
from models.engine.request import Finished, Piece
from models.engine.sampler import Sampling
from models.engine.scheduler import Limits, PromptTooLong, Scheduler
from models.engine.session import OnnxSession, Products, SelfCheckFailed
from models.engine.tokenizer import ChatTokenizer, sampling_defaults

__all__ = [
    "Answer",
    "ChatTokenizer",
    "Draining",
    "Engine",
    "Finished",
    "Grammar",
    "Limits",
    "OnnxSession",
    "Piece",
    "Products",
    "PromptTooLong",
    "QueueFull",
    "Sampling",
    "Scheduler",
    "SelfCheckFailed",
    "Vocabulary",
    "generate",
    "grammar",
    "sampling_defaults",
]
