"""The residual stream in another basis, in which no channel stands out (QuaRot, Ashkboos et al. 2024, section 4).

A row of activations shares one int8 scale, so a few strong channels take the steps of all others. Turning a row leaves
its root mean square as it is: with the norms' weights moved into the matrices behind them, the matrices that read the
stream and those that write it can be turned instead, once, when the graph is made.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import onnx

from models.engine.blockwise import plain
from models.engine.smoothing import NORM_WEIGHT

SUM = 3  # which output of a norm with a skip is what it summed
SEED = 0


@dataclass(frozen=True)
class Stream:
    """A graph's residual stream, by the names of its tensors."""

    lookup: str  # the node that looks up the rows of the token table
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
    lookup, tokens = _tokens(readers)
    sums, written, normed = {tokens}, set(), {}
    for node in graph.node:
        if _is_norm(node, sums):
            place = NORM_WEIGHT[node.op_type]
            written |= set(node.input[1:place])
            normed[node.output[0]] = node.input[place]
            sums |= {name for name in node.output[SUM:] if name}
    made = {node.output[0] for node in graph.node if plain(node)}
    turns = (
        all(_is_norm(node, sums) for name in sums | written for node in readers[name])
        and all(plain(node) for name in normed for node in readers[name])
        and written <= made
    )
    return Stream(lookup, tokens, frozenset(written), normed) if turns and normed else None


def basis(width: int) -> np.ndarray:
    """An orthogonal matrix [width, width] whose entries are all small: random signs, then the Hartley transform.

    (Bracewell 1983: cas(2 pi i j / n) / sqrt(n), for every n; a Hadamard matrix is there for few.)
    """
    places = np.arange(width)
    angles = 2 * np.pi / width * (places[:, None] * places % width)
    signs = np.random.default_rng(SEED).choice([-1.0, 1.0], width)
    return (signs[:, None] * (np.cos(angles) + np.sin(angles)) / np.sqrt(width)).astype(np.float32)


def _is_norm(node: onnx.NodeProto, sums: set[str]) -> bool:
    return node.op_type in NORM_WEIGHT and node.input[0] in sums


def _tokens(readers: dict[str, list[onnx.NodeProto]]) -> tuple[str, str]:
    """The node that looks rows up by token, and these rows, which are cut where the table is wider."""
    lookup = next((node for node in readers["input_ids"] if node.op_type == "GatherBlockQuantized"), None)
    if lookup is None:
        return "", ""
    rows = lookup.output[0]
    return lookup.name, next((node.output[0] for node in readers[rows] if node.op_type == "Slice"), rows)
