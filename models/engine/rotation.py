"""The residual stream in another basis, in which no channel stands out (QuaRot, Ashkboos et al. 2024, section 4).

A row of activations shares one int8 scale, so a few strong channels take the steps of all others. Turning a row leaves
its root mean square as it is: with the norms' weights moved into the matrices behind them, the matrices that read the
stream and those that write it can be turned instead, once, when the graph is made.
"""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnx

from models.engine.blockwise import plain
from models.engine.smoothing import NORM_WEIGHT

SUM = 3  # which output of a norm with a skip is what it summed
SEED = 0
ROWS = 512  # turned at once: a core's cache holds them


@dataclass(frozen=True)
class Stream:
    """A graph's residual stream, by the names of its tensors."""

    lookup: str  # the node that looks up the rows of the token table
    table: str  # what it looks them up in: codes
    tokens: str  # these rows, cut to their width
    written: frozenset[str]  # what products add to it
    normed: dict[str, str]  # what norms make of it -> their weights


def stream(graph: onnx.GraphProto) -> Stream | None:
    """Where the residual stream runs; None where it cannot be turned.

    That is when more than norms reads it, more than products reads these, or something else writes into it.
    """
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    lookup, table, tokens = _tokens(readers)
    sums, written, normed = {tokens}, set(), {}
    for node in graph.node:
        if _is_norm(node, sums):
            place = NORM_WEIGHT[node.op_type]
            written |= set(node.input[1:place])
            normed[node.output[0]] = node.input[place]
            sums |= {name for name in node.output[SUM:] if name}
    made = {node.output[0] for node in graph.node if plain(node)}
    told = {item.name for item in graph.output}
    turns = (
        all(_is_norm(node, sums) for name in sums | written for node in readers[name])
        and all(plain(node) for name in normed for node in readers[name])
        and written <= made
        and not told & (sums | written | normed.keys())
    )
    return Stream(lookup, table, tokens, frozenset(written), normed) if turns and normed else None


def turned(rows: np.ndarray) -> np.ndarray:
    """Rows [N, width] in the other basis, fp32: random signs, then the Hartley transform.

    An orthogonal matrix whose entries are all small, cas(2 pi i j / n) / sqrt(n) (Bracewell 1983): there is one for
    every width, as there is no Hadamard matrix, and Fourier's gives it quickly.
    """
    result, signs = np.empty(rows.shape, np.float32), _signs(rows.shape[1])

    def turn(first: int) -> None:
        result[first : first + ROWS] = _hartley(rows[first : first + ROWS] * signs)

    with ThreadPoolExecutor() as threads:
        list(threads.map(turn, range(0, len(rows), ROWS)))
    return result


def straight(rows: np.ndarray) -> np.ndarray:
    """What `turned` turned."""
    return _hartley(rows) * _signs(rows.shape[1])


def _hartley(rows: np.ndarray) -> np.ndarray:
    """Its own inverse. Of real rows the upper half of the waves mirrors the lower."""
    width = rows.shape[1]
    waves = np.fft.rfft(rows)  # [N, width // 2 + 1]
    upper = (waves.real + waves.imag)[:, 1 : (width + 1) // 2]
    return np.concatenate([waves.real - waves.imag, upper[:, ::-1]], axis=1) / np.float32(np.sqrt(width))


def _signs(width: int) -> np.ndarray:
    return np.random.default_rng(SEED).choice(np.array([-1, 1], np.float32), width)


def _is_norm(node: onnx.NodeProto, sums: set[str]) -> bool:
    """Whether it is a norm of the stream, without a bias, which would come behind its weights."""
    place = NORM_WEIGHT.get(node.op_type, 0)
    return bool(place) and node.input[0] in sums and not any(node.input[place + 1 :])


def _tokens(readers: dict[str, list[onnx.NodeProto]]) -> tuple[str, str, str]:
    """The node that looks rows up by token, the table, and these rows, which are cut where the table is wider."""
    lookup = next((node for node in readers["input_ids"] if node.op_type == "GatherBlockQuantized"), None)
    if lookup is None or len(lookup.input) > 3:  # zero points, which our builder does not make
        return "", "", ""
    rows = lookup.output[0]
    cut = next((node.output[0] for node in readers[rows] if node.op_type == "Slice"), rows)
    return lookup.name, lookup.input[0], cut
