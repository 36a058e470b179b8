"""What tensors of a graph hold when it multiplies bytes: other numbers, of which bytes lose less, and the same results.

The residual stream is turned (models/engine/rotation.py); other strong tensors are divided (smoothing.py).
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx

from models.engine import rotation, smoothing
from models.engine.smoothing import NORM_WEIGHT
from models.engine.writer import Writer

PLAIN = ".plain"  # after the name of a tensor that is turned: as it was


class Numbers:
    """As they were, at first. `matrix(node)` gives the matrix [N, K] of a blockwise product."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._divisors: dict[str, np.ndarray] = {}
        self._written: frozenset[str] = frozenset()
        self._normed: dict[str, np.ndarray] = {}  # tensors behind norms, turned -> the norms' weights
        self._tokens = ""

    def change(
        self,
        graph: onnx.GraphProto,
        strengths: Mapping[str, np.ndarray],
        matrix: Callable[[onnx.NodeProto], np.ndarray],
    ) -> None:
        """Turn the residual stream where that can be done, divide what else is known to have strong columns."""
        stream = rotation.stream(graph)
        if stream:
            self._tokens, self._written = stream.tokens, stream.written
            self._normed = {name: self._writer.tensor(weights) for name, weights in stream.normed.items()}
            self._basis = rotation.basis(len(next(iter(self._normed.values()))))  # [hidden, hidden]
        self._divisors = smoothing.plan(graph, strengths, matrix, self._normed)

    def alias(self, name: str, source: str) -> None:
        """`name` holds rows of `source`."""
        if source in self._normed:
            self._normed[name] = self._normed[source]

    def reading(self, source: str, matrix: np.ndarray) -> np.ndarray:
        """A matrix [N, K] that reads `source`."""
        if source in self._normed:
            return (matrix * self._normed[source]) @ self._basis
        return matrix * self._divisor(source)

    def writing(self, out: str, matrix: np.ndarray) -> np.ndarray:
        """A matrix [N, K] that makes `out`."""
        if out in self._written:
            return self._basis.T @ matrix
        return matrix / self._divisor(out)[:, None]

    def place(self, node: onnx.NodeProto) -> None:
        """Write a node that is no product: the token table's, a norm, or another as it is."""
        out, weights = node.output[0], NORM_WEIGHT.get(node.op_type, 0)
        if out == self._tokens:
            node.output[0] = out + PLAIN
        elif weights and out in self._normed:
            node.input[weights] = self._writer.constant(node.name + ".ones", np.ones_like(self._normed[out]))
        elif weights and out in self._divisors:
            divided = self._writer.tensor(node.input[weights]) / self._divisor(out)
            node.input[weights] = self._writer.constant(node.name + ".smooth", divided)
        self._writer.nodes.append(node)
        if out == self._tokens:
            self._writer.add("MatMul", [out + PLAIN, self._writer.constant("basis", self._basis)], [out])

    def summed(self, source: str, out: str) -> None:
        """Write `out` [K], the sum of `source`'s rows as they were."""
        turned = source in self._normed
        total = out + ".turned" if turned else out
        self._writer.add("ReduceSum", [source, self._writer.constant("first axis", np.array([0]))], [total], keepdims=0)
        if turned:
            back = self._writer.constant("basis.back", self._basis.T * self._normed[source])
            self._writer.add("MatMul", [total, back], [out])

    def _divisor(self, tensor: str) -> np.ndarray:
        """[1] or a scale for each column."""
        return self._divisors.get(tensor, np.ones(1, np.float32))
