"""A graph being written: its nodes and its constants."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

MICROSOFT = "com.microsoft"


class Writer:
    """Nodes in the order in which they are added; constants by name, those of an older graph to begin with."""

    def __init__(self, constants: Iterable[onnx.TensorProto]):
        self.constants = {tensor.name: tensor for tensor in constants}
        self.nodes: list[onnx.NodeProto] = []

    def add(self, kind: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any) -> str:
        """A new node; the name of its first output."""
        node = helper.make_node(kind, inputs, outputs, name=f"served/{outputs[0]}", domain=domain, **attributes)
        self.nodes.append(node)
        return outputs[0]

    def constant(self, name: str, values: np.ndarray) -> str:
        """A constant, written once; its name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(values, name)
        return name

    def tensor(self, name: str) -> np.ndarray:
        """The values of a constant."""
        return numpy_helper.to_array(self.constants[name])

    def used_constants(self) -> list[onnx.TensorProto]:
        """Those that a node reads."""
        used = {name for node in self.nodes for name in node.input}
        return [tensor for name, tensor in self.constants.items() if name in used]
