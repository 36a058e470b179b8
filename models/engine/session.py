"""A decoder graph in onnxruntime, run over key/value slots.

The graph is the one that onnxruntime-genai's builder writes: `input_ids`, `attention_mask` and past keys and values in,
`logits` and present keys and values out. The same buffer is bound as past and present, and every row has its own
attention-mask length, so that sequences of different lengths run in one batch, each as if alone.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort

from models.engine.kv import KVCache

ort.disable_telemetry_events()  # some builds of it report to their maker
ELEMENT = {"tensor(float)": np.dtype(np.float32), "tensor(float16)": np.dtype(np.float16)}
DEFAULT_LENGTH = 2048  # positions per slot when the model allows more: slots are memory


class SelfCheckFailed(RuntimeError):
    """The graph computes something else on this machine than it did where it was built."""


class OnnxSession:
    """One model in memory with `slots` places for running sequences of at most `length` tokens each.

    Raises FileNotFoundError for a directory without a graph, ValueError for one that is no such decoder, and
    SelfCheckFailed when the graph's own reference (`selfcheck.json`, when there) is missed.
    """

    def __init__(self, directory: Path, slots: int = 8, length: int = 0, threads: int = 0, spin: bool = False):
        config = read_config(directory)
        decoder = config["decoder"]
        self.context_length = int(config["context_length"])
        self.vocab_size = int(config["vocab_size"])
        self.length = min(length or DEFAULT_LENGTH, self.context_length)
        self._session = ort.InferenceSession(
            str(directory / decoder["filename"]), _options(threads, spin), providers=["CPUExecutionProvider"]
        )
        self._pairs = _cache_names(decoder)
        inputs = {item.name: item for item in self._session.get_inputs()}
        missing = [name for name in ("input_ids", "attention_mask", *self._pairs) if name not in inputs]
        if missing:
            raise ValueError(f"{directory / decoder['filename']}: no input named {missing[0]}; build it with quantize")
        dtype = ELEMENT[inputs[next(iter(self._pairs))].type]
        self._logits_dtype = ELEMENT[self._session.get_outputs()[0].type]
        heads, head_dim = int(decoder["num_key_value_heads"]), int(decoder["head_size"])
        self.cache = KVCache(list(self._pairs), slots, heads, self.length, head_dim, dtype)
        self._bindings: dict[tuple[int, int], ort.IOBinding] = {}
        self._logits = np.empty(0, self._logits_dtype)
        self.check(directory)

    @property
    def slots(self) -> int:
        return self.cache.slots

    def forward(self, tokens: np.ndarray, past: np.ndarray, first_slot: int = 0) -> np.ndarray:
        """Run `tokens` [B, T] in slots `first_slot` onwards, row b after the `past[b]` tokens its slot already holds.

        Returns logits [B, T, vocabulary], a buffer that the next call overwrites. With T > 1 either B is 1 or no row
        has a past: the attention kernel knows only those two cases. Raises ValueError when rows or tokens do not fit.
        """
        count, width = tokens.shape
        total = int(past.max()) + width
        if total > self.length or first_slot + count > self.slots:
            raise ValueError(f"{count} rows of {total} tokens do not fit {self.slots} slots of {self.length}")
        if width > 1 and count > 1 and past.any():
            raise ValueError("rows with a past take one token at a time, or one row at a time")
        tokens = np.ascontiguousarray(tokens, np.int64)
        mask = (np.arange(total) < (past + width)[:, None]).astype(np.int64)  # [B, total]
        logits = self._buffer(count * width * self.vocab_size).reshape(count, width, self.vocab_size)
        binding = self._binding(first_slot, count)
        _bind(binding.bind_input, "input_ids", tokens)
        _bind(binding.bind_input, "attention_mask", mask)
        _bind(binding.bind_output, "logits", logits)
        self._session.run_with_iobinding(binding)
        return logits

    def move(self, source: int, target: int, length: int) -> None:
        """Give the sequence in slot `source` the slot `target`."""
        self.cache.move(source, target, length)

    def check(self, directory: Path) -> None:
        """Compare log-probabilities on a few tokens with those noted at build time (int8 kernels differ by CPU)."""
        path = directory / "selfcheck.json"
        if not path.exists():
            return
        reference = json.loads(path.read_text())
        tokens = np.array([reference["tokens"]], np.int64)[:, : self.length]
        logits = self.forward(tokens[:, :-1], np.zeros(1, np.int64))[0].astype(np.float64)
        log_probs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        ours = np.take_along_axis(log_probs, tokens[0, 1:, None], axis=-1)[:, 0]
        difference = float(np.abs(ours - np.array(reference["log_probs"][: len(ours)])).mean())
        if not difference <= reference["tolerance"]:
            raise SelfCheckFailed(
                f"{directory}: log-probabilities are {difference:.4f} nats off the full-precision model's, at most "
                f"{reference['tolerance']:.4f} expected; the int4 kernels of this CPU or onnxruntime are wrong for it"
            )

    def _binding(self, first_slot: int, count: int) -> ort.IOBinding:
        """The cache rows of one batch, bound once: only tokens, mask and logits change from step to step."""
        key = (first_slot, count)
        if key not in self._bindings:
            binding = self._session.io_binding()
            for past, present in self._pairs.items():
                rows = self.cache.rows(past, first_slot, count)
                _bind(binding.bind_input, past, rows)
                _bind(binding.bind_output, present, rows)
            self._bindings[key] = binding
        return self._bindings[key]

    def _buffer(self, size: int) -> np.ndarray:
        if self._logits.size < size:
            self._logits = np.empty(size, self._logits_dtype)
        return self._logits[:size]


def read_config(directory: Path) -> dict:
    """The `model` part of genai_config.json."""
    path = directory / "genai_config.json"
    if not path.exists():
        raise FileNotFoundError(f"{path}: missing; expected a directory that the quantize stage wrote")
    return json.loads(path.read_text())["model"]


def _bind(bind, name: str, array: np.ndarray) -> None:
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _cache_names(decoder: dict) -> dict[str, str]:
    """Name of every past tensor -> name of the present one that replaces it."""
    inputs, outputs = decoder["inputs"], decoder["outputs"]
    return {
        inputs[f"past_{kind}_names"] % layer: outputs[f"present_{kind}_names"] % layer
        for layer in range(int(decoder["num_hidden_layers"]))
        for kind in ("key", "value")
    }


def _options(threads: int, spin: bool) -> ort.SessionOptions:
    """Threads that spin while they wait are quicker on a machine of their own and halve the speed of a busy one."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    options.intra_op_num_threads = threads  # 0: as many as there are cores
    options.log_severity_level = 3
    return options
