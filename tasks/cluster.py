"""Several processes for one training run: how many, and which group shares what."""

from pydantic import Field

from models.mesh import Mesh
from tasks.stage import StageConfig


class ParallelConfig(StageConfig):
    """The mesh of a training run; replicate x shard x context x tensor must be nodes x processes.

    `fullchain size` recommends one. None of it bears identity: a run may be resumed on another mesh.
    """

    nodes: int = Field(1, ge=1, le=4096, description="Machines; above 1 the processes are started by Ray")
    processes: int = Field(1, ge=1, le=64, description="Processes per machine, each with a GPU where there are any")
    replicate: int = Field(1, ge=1, description="Copies of the optimizer's states; their gradients are averaged")
    shard: int = Field(1, ge=1, description="Ranks that share one copy of the optimizer's states (zero1 of InternEvo)")
    parameter_shard: int = Field(
        0, ge=0, description="Ranks that share one copy of the weights between uses; 0 = as `shard`, 1 = none (ZeRO-1)"
    )
    context: int = Field(1, ge=1, description="Ranks that share one sequence")
    tensor: int = Field(1, ge=1, description="Ranks that share each matrix, inside a node")

    @property
    def world(self) -> int:
        """All processes."""
        return self.nodes * self.processes

    @property
    def mesh(self) -> Mesh:
        """The mesh in numbers, not yet checked."""
        states = self.shard * self.context
        return Mesh(self.replicate, self.shard, self.context, self.tensor, self.parameter_shard or states)
