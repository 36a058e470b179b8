"""The kernels of attention by name; models/attention_choice.py says which of them serves where.

packed   blocks of plain matrix products, in a CPU's cache
flash    FlashAttention over documents of various lengths: CUDA from compute capability 8.0 on, 16-bit numbers
flex     FlexAttention with a mask of blocks: CUDA with Triton
sdpa     torch's scaled dot product with a mask of [T, T]: everywhere
"""

from typing import Literal

Kernel = Literal["auto", "packed", "flash", "flex", "sdpa"]
