"""Direct preference optimisation: the loss, and pairs as batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.lm import IGNORED, label_log_probs
from models.packing import Example, packed_batch


class PairBatch(NamedTuple):
    """P pairs: rows 0 to P-1 are the chosen answers, rows P to 2P-1 the rejected ones, in the same order."""

    input_ids: Tensor  # [2P, T]
    position_ids: Tensor  # [2P, T]
    labels: Tensor  # [2P, T]
    reference: Tensor  # [2P], log p(answer | prompt) of the model we started from


@dataclass(frozen=True)
class Preference:
    """The DPO objective.

    beta: how dearly leaving the reference costs (Rafailov et al. 2023, eq. 7).
    imitation: weight of the chosen answers' negative log-likelihood per token, which keeps their probability from
        falling together with the rejected ones' (Pang et al. 2024, eq. 1).
    per_token: compare log-probabilities per token instead of their sums (as SimPO does, Meng et al. 2024, eq. 3).
    """

    beta: float
    imitation: float = 0.0
    per_token: bool = False

    def __call__(self, model: nn.Module, batch: PairBatch) -> tuple[Tensor, float, dict[str, float]]:
        """Summed loss over the pairs, how many there are, and sums of accuracy, margin and the chosen's gain."""
        lengths = (batch.labels != IGNORED).sum(1)  # [2P]
        policy = answer_log_probs(model, batch)  # [2P]
        chosen_nll = -(policy / lengths).chunk(2)[0]  # [P]
        gain = policy - batch.reference  # [2P]
        if self.per_token:
            gain = gain / lengths
        chosen, rejected = gain.chunk(2)  # [P] each
        margin = chosen - rejected
        loss = preference_loss(margin, self.beta).sum() + self.imitation * chosen_nll.sum()
        seen = {
            "accuracy": (margin > 0).float().sum().item(),
            "margin": margin.sum().item(),
            "chosen_gain": chosen.sum().item(),
        }
        return loss, float(len(margin)), seen


def preference_loss(margin: Tensor, beta: float) -> Tensor:
    """-log sigmoid(beta * margin), elementwise; `margin`: the chosen's gain over the reference less the rejected's."""
    return -F.logsigmoid(beta * margin)


def answer_log_probs(model: nn.Module, batch: PairBatch) -> Tensor:
    """log p(answer | prompt) of each row, [2P]."""
    return label_log_probs(model, batch.input_ids, batch.position_ids, batch.labels).sum(1)


def pair_batch(chosen: Sequence[Example], rejected: Sequence[Example], pad: int) -> PairBatch:
    """Pairs as a batch, padded to the longest; the reference is still zero."""
    examples = [*chosen, *rejected]
    length = max(len(example.ids) for example in examples)
    rows = packed_batch([[example] for example in examples], length, pad)
    return PairBatch(*rows, torch.zeros(len(examples)))


def with_reference(model: nn.Module, batch: PairBatch, bf16: bool) -> PairBatch:
    """The batch with the reference's log-probabilities, computed the way training computes the policy's."""
    there = PairBatch(*(tensor.to(model.device) for tensor in batch))
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        return batch._replace(reference=answer_log_probs(model, there).to(batch.reference.device))
