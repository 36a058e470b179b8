"""A decoder's sizes, and what follows: parameters and arithmetic. h hidden, f inside the MLP, V vocabulary."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A Llama-like decoder: grouped-query attention and a gated MLP, no biases."""

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    intermediate_size: int
    vocab_size: int
    tied: bool = False

    @property
    def kv_size(self) -> int:
        """Width of the keys, and of the values."""
        return self.hidden_size // self.heads * self.kv_heads

    def matrices(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each matrix of one layer: q, k, v, o, gate, up, down."""
        h, kv, f = self.hidden_size, self.kv_size, self.intermediate_size
        return [(h, h), (h, kv), (h, kv), (h, h), (h, f), (h, f), (f, h)]

    @property
    def layer_matrices(self) -> int:
        """Parameters in the matrices of one layer."""
        return sum(inputs * outputs for inputs, outputs in self.matrices())

    @property
    def layer_parameters(self) -> int:
        """Of one layer, its two norms included."""
        return self.layer_matrices + 2 * self.hidden_size

    @property
    def hidden_parameters(self) -> int:
        """In all layers' matrices: what Muon trains."""
        return self.layers * self.layer_matrices

    @property
    def edge_parameters(self) -> int:
        """Embedding, head (unless tied to it) and the last norm."""
        return self.vocab_size * self.hidden_size * (1 if self.tied else 2) + self.hidden_size

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + self.edge_parameters

    @property
    def tensors(self) -> int:
        """Parameter tensors of the whole model."""
        return 9 * self.layers + (2 if self.tied else 3)

    def operations_per_token(self, seq_len: int) -> float:
        """Forward and backward: 6 per weight that multiplies (Kaplan et al. 2020), and causal attention.

        Attention is 12 h T per layer (Chowdhery et al. 2022, PaLM, appendix B), of which a causal mask needs half.
        Recomputed activations do not count, so MFU is of useful work only.
        """
        weights = self.layers * self.layer_matrices + self.vocab_size * self.hidden_size
        return 6 * weights + 6 * self.layers * self.hidden_size * seq_len
