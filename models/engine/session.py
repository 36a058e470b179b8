"""A decoder graph in onnxruntime, run over key/value slots.

The same buffer is bound as past and present, and every sequence has its own length, so that sequences of different
lengths run in one batch, each as if alone.
"""

import json
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort

from models.engine import graph, int8, rotation
from models.engine.adapters import Adapter
from models.engine.kv import KVCache

ort.disable_telemetry_events()  # some builds of it report to their maker
ELEMENT = {f"tensor({name})": np.dtype(kind) for name, kind in (("float", "f4"), ("float16", "f2"), ("int8", "i1"))}
TILES_OFF = "ORT_GQA_DISABLE_FLASH_ATTENTION"  # read by onnxruntime while it makes a session
CHUNK = 256  # tokens of a prompt that are read at once, as a rule (scheduler.Limits)
WHOLE_SCORES = 128 << 20  # bytes of scores up to which they are computed whole
DEFAULT_LENGTH = 2048  # positions per slot when the model allows more: slots are memory

Products = Literal["blockwise", "int8", "mixed"]


class SelfCheckFailed(RuntimeError):
    """The graph computes something else on this machine than it did where it was built."""


class OnnxSession:
    """One model in memory with `slots` places for running sequences of at most `length` tokens each.

    `products` says how the graph multiplies: "blockwise" as it was quantized, or "int8" (models/engine/int8.py), which
    reads prompts and answers many requests faster. "mixed" reads prompts in int8 and answers blockwise, from a second
    copy of the weights: the fastest for few requests. Where int8 products are not exact all are blockwise.
    `drafts` says that an answer may be given several tokens at once, see `forward`.

    Raises FileNotFoundError for a directory without a graph, ValueError for one that is no such decoder, and
    SelfCheckFailed when the graph's own reference (`selfcheck.json`, when there) is missed.
    """

    def __init__(
        self,
        directory: Path,
        slots: int = 8,
        length: int = 0,
        threads: int = 0,
        spin: bool = False,
        products: Products = "blockwise",
        drafts: bool = False,
        adapters: Sequence[Adapter] = (),
    ):
        config = read_config(directory)
        decoder = config["decoder"]
        self.context_length, self.vocab_size = int(config["context_length"]), int(config["vocab_size"])
        self.hidden_size = int(decoder["hidden_size"])
        self.length = min(length or DEFAULT_LENGTH, self.context_length)
        self._pairs = _cache_names(decoder)
        path, options = directory / decoder["filename"], _options(threads, spin)
        if not path.exists():
            raise FileNotFoundError(f"{path}: missing; expected a directory that the quantize stage wrote")
        whole = _whole_is_quicker(decoder, self.length)
        exact = products != "blockwise" and int8.is_exact()
        self.adapters = tuple(adapter.name for adapter in adapters)
        self._reader, norm = _load(path, exact, options, adapters, whole)
        mixed = exact and products == "mixed"
        self._answerer = _load(path, False, options, adapters, whole)[0] if mixed else self._reader
        self._norms = {self._reader: norm}
        self.drafts, self.embeds = drafts, True
        heads, head_dim = int(decoder["num_key_value_heads"]), int(decoder["head_size"])
        dtype = ELEMENT[next(item.type for item in self._reader.get_inputs() if item.name in self._pairs)]
        self.cache = KVCache(list(self._pairs), slots, heads, self.length + 1, head_dim, dtype)  # see _places
        self._bindings: dict[tuple[ort.InferenceSession, int, int], ort.IOBinding] = {}
        self._logits = np.empty(0, np.float32)
        self._summed: tuple[np.ndarray, np.ndarray | None] = (np.zeros(self.hidden_size, np.float32), None)
        self.check(directory)

    @property
    def slots(self) -> int:
        return self.cache.slots

    def forward(
        self,
        tokens: np.ndarray,
        past: np.ndarray,
        first_slot: int = 0,
        *,
        widths: np.ndarray | None = None,
        wanted: np.ndarray | None = None,
        reading: bool = False,
        adapters: np.ndarray | None = None,
    ) -> np.ndarray:
        """Run `tokens` [B, T] in slots `first_slot` onwards, row b after the `past[b]` tokens its slot already holds.

        Of row b the first `widths[b]` tokens count (all, when not given). Returns logits [B, T, vocabulary], or
        [n, vocabulary] of the `wanted` places b * T + t: a buffer that the next call overwrites. `summed` [hidden] are
        then the last hidden states summed over all tokens. Raises ValueError when rows or tokens do not fit.

        Row b is changed by the adapter of number `adapters[b]`, counted from 1; 0, for all when not given, is none.

        `reading` says that the tokens are a prompt's: they come out the same bit for bit however the prompt is cut. So
        do an answer's when the session takes `drafts`; else an answer takes one token at a time, which is quicker.
        """
        count, width = tokens.shape
        widths = np.full(count, width) if widths is None else widths
        longest = int((past + widths).max())
        if longest > self.length or first_slot + count > self.slots:
            raise ValueError(f"{count} rows of {longest} tokens do not fit {self.slots} slots of {self.length}")
        counts = np.arange(width) < widths[:, None]  # [B, T]
        places = np.arange(count * width) if wanted is None else wanted
        rows = (np.cumsum(counts) - 1)[places]
        logits = self._buffer(len(rows) * self.vocab_size).reshape(len(rows), self.vocab_size)
        inputs = _places(past, widths, pair=reading or self.drafts)
        inputs |= {"input_ids": tokens[counts].astype(np.int64), "wanted": rows.astype(np.int64)}
        if self.adapters:
            chosen = np.zeros(count, np.int64) if adapters is None else adapters
            inputs["adapters"] = np.repeat(chosen, widths)
        session = self._reader if reading else self._answerer
        summed = np.empty(self.hidden_size, np.float32)
        self._summed = summed, self._norms.get(session)
        binding = self._binding(session, first_slot, count)
        for name, values in inputs.items():
            _bind(binding.bind_input, name, values)
        _bind(binding.bind_output, "logits", logits)
        _bind(binding.bind_output, "summed", summed)
        session.run_with_iobinding(binding)
        return logits.reshape(count, width, -1) if wanted is None else logits

    @property
    def summed(self) -> np.ndarray:
        """The last hidden states [hidden], summed over all tokens of the last `forward`."""
        values, norm = self._summed
        return values if norm is None else rotation.straight(values[None])[0] * norm

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
        for reading in (True, False):
            self._compare(directory, tokens, reference, reading)

    def _compare(self, directory: Path, tokens: np.ndarray, reference: dict, reading: bool) -> None:
        logits = self.forward(tokens[:, :-1], np.zeros(1, np.int64), reading=reading)[0].astype(np.float64)
        log_probs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        ours = np.take_along_axis(log_probs, tokens[0, 1:, None], axis=-1)[:, 0]
        difference = float(np.abs(ours - np.array(reference["log_probs"][: len(ours)])).mean())
        if not difference <= reference["tolerance"]:
            raise SelfCheckFailed(
                f"{directory}: log-probabilities are {difference:.4f} nats off the full-precision model's, at most "
                f"{reference['tolerance']:.4f} expected; the integer kernels of this CPU are wrong for it"
            )

    def _binding(self, session: ort.InferenceSession, first_slot: int, count: int) -> ort.IOBinding:
        """The cache rows of one batch, bound once: only tokens and lengths change from step to step."""
        key = (session, first_slot, count)
        if key not in self._bindings:
            binding = session.io_binding()
            for past, present in self._pairs.items():
                rows = self.cache.rows(past, first_slot, count)
                _bind(binding.bind_input, past, rows)
                _bind(binding.bind_output, present, rows)
            self._bindings[key] = binding
        return self._bindings[key]

    def _buffer(self, size: int) -> np.ndarray:
        if self._logits.size < size:
            self._logits = np.empty(size, np.float32)
        return self._logits[:size]


def read_config(directory: Path) -> dict:
    """The `model` part of genai_config.json."""
    path = directory / "genai_config.json"
    if not path.exists():
        raise FileNotFoundError(f"{path}: missing; expected a directory that the quantize stage wrote")
    return json.loads(path.read_text())["model"]


def _places(past: np.ndarray, widths: np.ndarray, pair: bool) -> dict[str, np.ndarray]:
    """Where attention finds the rows of each sequence.

    It multiplies a lone token by another kernel than several, which rounds differently. With `pair` a lone token is
    shown to it twice: the second, one position further, is seen by none, and is overwritten by what comes next.
    """
    first = np.cumsum(widths) - widths
    shown = np.maximum(widths, 2) if pair else widths
    columns = np.arange(shown.max())
    return {
        "spread": (first[:, None] + np.minimum(columns, widths[:, None] - 1)).astype(np.int64).reshape(-1),
        "back": np.flatnonzero(columns < widths[:, None]),
        "shape": np.array([len(widths), len(columns), -1], np.int64),
        "seqlens": (past + shown - 1).astype(np.int32),
        "widths": shown.astype(np.int32),
        "total": np.array((past + shown).max(), np.int32),
    }


def _load(
    path: Path, int8: bool, options: ort.SessionOptions, adapters: Sequence[Adapter], whole: bool
) -> tuple[ort.InferenceSession, np.ndarray | None]:
    """The served graph, its attention `whole` where queries come scaled, and the norm that `graph.prepare` tells of."""
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        norm, scaled = graph.prepare(path, Path(folder), int8, adapters)
        with _attention(whole and scaled):
            session = ort.InferenceSession(str(Path(folder, "model.onnx")), options, providers=["CPUExecutionProvider"])
    return session, norm


def _whole_is_quicker(decoder: dict, length: int) -> bool:
    """Whether attention that computes all scores of a head at once is quicker than tile by tile, and as exact.

    It is where MLAS has a kernel for a lone query, and takes memory for the scores of a chunk against a whole slot.
    Sums over heads of more than 128 numbers would be cut differently for few keys and for many.
    """
    score_bytes = 4 * int(decoder["num_attention_heads"]) * CHUNK * length
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and int(decoder["head_size"]) <= 128 and score_bytes <= WHOLE_SCORES


@contextmanager
def _attention(whole: bool) -> Iterator[None]:
    """How sessions made within compute attention, unless the user has said it: all scores at once, or tile by tile."""
    if TILES_OFF in os.environ:
        yield
        return
    os.environ[TILES_OFF] = str(int(whole))
    try:
        yield
    finally:
        del os.environ[TILES_OFF]


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
    options.add_session_config_entry("session.force_spinning_stop", "1")  # between steps the threads belong to others
    options.intra_op_num_threads = threads  # 0: as many as there are cores
    options.log_severity_level = 3
    return options
