"""Which networks a mesh can share exactly; known from their modules and shapes alone, before any process starts."""

from torch import nn

from models.attention import unusual
from models.mesh import ImpossibleMesh, Mesh
from models.parallel import decoder_layers
from models.parallel_tensor import matrix_styles


def check_shareable(model: nn.Module, mesh: Mesh) -> None:
    """Refuse to share what would not be computed as one process does; `model` may be on the meta device.

    Raises:
        ImpossibleMesh: naming the kind of group that must be 1 for this network.
    """
    kind = model.config.model_type
    try:
        decoder_layers(model)
        if mesh.tensor > 1:
            matrix_styles(model)
    except ValueError as problem:
        raise ImpossibleMesh(str(problem)) from problem
    if mesh.context * mesh.tensor == 1:
        return
    found = unusual(model)
    if not any(hasattr(module, "o_proj") for module in model.modules()):
        found.append("no o_proj by which its attention blocks are known")
    if found:
        raise ImpossibleMesh(
            f"context x tensor = {mesh.context} x {mesh.tensor}, and the attention of {kind} has {', '.join(found)}; "
            "expected a plain causal one, as internlm3 or llama; set both to 1 and use shard and replicate"
        )
