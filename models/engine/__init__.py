"""Inference on the CPU: an int4 graph on onnxruntime, key/value slots, continuous batching, sampling.

Needs numpy, onnx, onnxruntime, safetensors, tokenizers, jinja2 and llguidance; never torch.
"""

from models.engine import grammar
from models.engine.adapters import Adapter, read_adapters
from models.engine.batch import Answer, generate
from models.engine.engine import Draining, Engine, QueueFull
from models.engine.grammar import Grammar, Vocabulary
from models.engine.request import Emit, Finished, Piece, Request
from models.engine.sampler import Sampling
from models.engine.scheduler import Limits, PromptTooLong, Scheduler
from models.engine.session import OnnxSession, Products, SelfCheckFailed
from models.engine.tokenizer import ChatTokenizer, sampling_defaults

__all__ = [
    "Adapter",
    "Answer",
    "ChatTokenizer",
    "Draining",
    "Emit",
    "Engine",
    "Finished",
    "Grammar",
    "Limits",
    "OnnxSession",
    "Piece",
    "Products",
    "PromptTooLong",
    "QueueFull",
    "Request",
    "Sampling",
    "Scheduler",
    "SelfCheckFailed",
    "Vocabulary",
    "generate",
    "grammar",
    "read_adapters",
    "sampling_defaults",
]
