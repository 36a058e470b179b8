"""Sizes by name: one dial, the number of attention heads, says the network's shape; its parameters say the rest.

Shape: layers are 1.5 times the heads and the width is heads times their size, 64 channels below a billion parameters
and 128 above. That is how InternLM2-1.8B (16 heads, 24 layers) and InternLM3-8B (32 heads, 48 layers) are built (their
`config.json`); those two keep their own MLP width, key/value heads and vocabulary, the others take 8/3 of the width
(Shazeer 2020, section 2), rounded up to 16, and share one matrix between embedding and head.

Training: tokens are 20 per parameter (Hoffmann et al. 2022, table 3). With C = 6 N D operations (Kaplan et al. 2020,
section 2.1), the learning rate is 0.3118 C^-0.1250 and a step sees 0.2920 C^0.3271 tokens (Bi et al. 2024, DeepSeek
LLM, eq. 1). Muon's rate is 4 times AdamW's, as in the poet preset.
"""

from dataclasses import dataclass
from typing import Any, Literal

SizeName = Literal["7M", "60M", "300M", "1.8B", "8B"]


@dataclass(frozen=True)
class Size:
    """A setting of the dial, and what the published networks of that size do not take from the rule."""

    heads: int
    head_size: int = 64
    kv_heads: int = 0
    mlp: float = 8 / 3
    vocabulary: int = 8192
    context: int = 1024

    @property
    def tied(self) -> bool:
        """Whether embedding and head are one matrix."""
        return self.head_size < 128

    @property
    def shape(self) -> dict[str, Any]:
        """Fields of a pretrain config that are the network's shape."""
        width = self.heads * self.head_size
        return {
            "hidden_size": width,
            "layers": 3 * self.heads // 2,
            "heads": self.heads,
            "kv_heads": self.kv_heads or self.heads,
            "intermediate_size": -(-round(width * self.mlp) // 16) * 16,
            "context": self.context,
            "tie_embeddings": self.tied,
        }

    @property
    def parameters(self) -> int:
        """Of the network with this size's usual vocabulary, vectors left out."""
        width, share = self.heads * self.head_size, (self.kv_heads or self.heads) / self.heads
        layer = width * width * (2 + 2 * share) + 3 * width * self.shape["intermediate_size"]
        return round(self.shape["layers"] * layer + (1 if self.tied else 2) * self.vocabulary * width)

    @property
    def training(self) -> dict[str, Any]:
        """Fields of a pretrain config that say how it learns."""
        tokens = 20 * self.parameters
        operations = 6.0 * self.parameters * tokens
        rate = 0.3118 * operations**-0.1250
        return {
            "tokens": tokens,
            "batch_tokens": round(0.2920 * operations**0.3271),
            "optimizer": {"lr": round(rate, 6), "matrix_lr": round(4 * rate, 6)},
        }


SIZES: dict[str, Size] = {
    "7M": Size(heads=4),
    "60M": Size(heads=8, vocabulary=32_768),
    "300M": Size(heads=16, vocabulary=32_768, context=2048),
    "1.8B": Size(heads=16, head_size=128, kv_heads=8, mlp=4, vocabulary=92_544, context=4096),
    "8B": Size(heads=32, head_size=128, kv_heads=2, mlp=2.5, vocabulary=128_512, context=4096),
}


def with_size(values: dict[str, Any]) -> dict[str, Any]:
    """A pretrain config's values with what its `size` implies for the fields that they leave open."""
    size = SIZES.get(values.get("size") or "")
    if size is None:
        return values
    implied = size.shape | size.training
    if "accumulation" in values:
        del implied["batch_tokens"]
    given = values.get("optimizer", {})
    optimizer = implied["optimizer"] | given if isinstance(given, dict) else given
    return implied | values | {"optimizer": optimizer}
