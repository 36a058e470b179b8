"""InternEvo's published throughput of a 7B model, tokens per GPU and second.

Source: InternEvo, doc/en/train_performance.md (Shanghai AI Laboratory, Apache-2.0). A100-SXM4-80GB, 8 per node,
4 x 100 Gb RoCE per node, bf16, sequences of 2,048; network and bucket sizes from its configs/7B_sft.py.
Columns: tensor, zero1 (-1: all data-parallel ranks), GPUs, micro_bsz, micro_num, activation checkpointing, tokens.
"""

from models.mesh import Mesh
from models.simulator.hardware import Cluster, gpu, network
from models.simulator.job import INTERNEVO, Job
from models.simulator.search import Outcome, assess
from models.simulator.shape import Shape

SEVEN_B = Shape(4096, 32, 32, 32, 11008, 103168)
GPUS = (8, 16, 32, 64, 128, 256, 512, 1024)


def _row(tensor, zero1, micro_bsz, figures):
    return [(tensor, zero1, n, micro_bsz, 4, False, tokens) for n, tokens in zip(GPUS, figures, strict=True)]


SCALING = _row(1, -1, 2, (4062, 3842, 3752, 3690, 3571, 3209, 2861, 2271)) + _row(
    1, 8, 2, (4078, 3939, 3919, 3944, 3928, 3920, 3835, 3625)
)
TENSOR_PARALLEL = _row(2, -1, 4, (3822, 3595, 3475, 3438, 3308, 3094, 2992, 2785)) + _row(
    2, 4, 4, (3761, 3658, 3655, 3650, 3651, 3653, 3589, 3486)
)
CHECKPOINTED = [
    (1, 8, gpus, micro_bsz, 1, True, tokens)
    for gpus, micro_bsz, tokens in (
        (8, 8, 3314), (16, 8, 3268), (32, 8, 3323), (64, 8, 3217), (128, 8, 3260), (256, 8, 3215), (512, 8, 3199),
        (1024, 8, 3163), (512, 4, 2963), (1024, 2, 2341), (1024, 4, 2796),
    )
]  # fmt: skip
FEW_MICRO_BATCHES = [
    (1, 8, 8, 2, 4, False, 4103), (1, 8, 512, 2, 4, False, 3900), (1, 8, 512, 2, 2, False, 3084),
    (1, 8, 1024, 2, 1, False, 2346), (1, 8, 1024, 2, 2, False, 2817),
]  # fmt: skip


def cluster(gpus: int) -> Cluster:
    return Cluster(gpu("A100-80G"), gpus, network("4x100Gb"))


def predicted(tensor, zero1, gpus, micro_bsz, micro_num, checkpointing) -> Outcome:
    data = gpus // tensor
    shard = data if zero1 == -1 else zero1
    mesh = Mesh(data // shard, shard, 1, tensor, parameter_shard=1)
    job = Job(SEVEN_B, 2048, micro_bsz, micro_num, mesh, checkpointing, scheme=INTERNEVO)
    return assess(job, cluster(gpus))
