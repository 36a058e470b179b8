"""The first rank's weights for all: the others need only the network's shapes (the meta device) until theirs come.

Module by module, so that each is sharded before the next one comes and no other rank ever holds a whole network.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def receive(modules: Iterable[nn.Module], device: torch.device) -> None:
    """Put the first rank's tensors into these modules' own, on `device`; all ranks must call it with the same modules.

    What several of them share (tied embeddings) stays shared.
    """
    known: dict[int, tuple[Tensor, Tensor]] = {}  # by identity; the first of each pair is kept so that none is reused
    for module in modules:
        for held in (module._parameters, module._buffers, vars(module)):
            for name, tensor in held.items():
                if isinstance(tensor, Tensor) and not isinstance(tensor, DTensor):
                    if id(tensor) not in known:
                        known[id(tensor)] = tensor, _received(tensor, device)
                    held[name] = known[id(tensor)][1]


@torch.no_grad()
def _received(tensor: Tensor, device: torch.device) -> Tensor:
    there = torch.empty_like(tensor, device=device) if tensor.is_meta else tensor.detach().to(device)
    values = there.contiguous()
    dist.broadcast(values, 0)
    if not isinstance(tensor, nn.Parameter):
        return values
    return nn.Parameter(values, tensor.requires_grad)


def by_the_first(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(...)` on the first rank alone; what it returned, or raised, on all."""
    told: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            told[0] = function(*arguments)
        except Exception as error:
            told[1] = error
    dist.broadcast_object_list(told, 0)
    if told[1] is not None:
        raise told[1]
    return told[0]
