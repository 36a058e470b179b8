"""Inference on the CPU: an int4 graph on onnxruntime, key/value slots, continuous batching, sampling.

Needs numpy, onnxruntime, tokenizers and jinja2; never torch.
"""

from models.engine.batch import Answer, generate
from models.engine.engine import Draining, Engine, QueueFull
from models.engine.sampler import Sampling
from models.engine.scheduler import Finished, Piece, PromptTooLong, Scheduler
from models.engine.session import OnnxSession, SelfCheckFailed
from models.engine.tokenizer import ChatTokenizer, sampling_defaults

__all__ = [
    "Answer",
    "ChatTokenizer",
    "Draining",
    "Engine",
    "Finished",
    "OnnxSession",
    "Piece",
    "PromptTooLong",
    "QueueFull",
    "Sampling",
    "Scheduler",
    "SelfCheckFailed",
    "generate",
    "sampling_defaults",
]
