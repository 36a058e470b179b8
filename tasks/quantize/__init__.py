"""The quantize stage: a trained model as an int4 ONNX graph, checked against what it was made from."""

from tasks.quantize.stage import QuantizeConfig, quantize

__all__ = ["QuantizeConfig", "quantize"]
