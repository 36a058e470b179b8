"""Which replica reads a prompt: one that has read its beginning, unless it has much more to do than another.

As in Zheng et al. 2024 (SGLang), section 3, its routing between machines, by blocks of text instead of tokens.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Collection, Sequence

BLOCK = 256  # bytes of a request's prompt
MOST_BLOCKS = 64  # of one prompt that are compared
REMEMBERED = 65_536  # blocks


class Affinity:
    """What each of `replicas` has read, as far as it is remembered; `margin` is how much more it may have to do."""

    def __init__(self, replicas: int, margin: int):
        self.running = [0] * replicas
        self._margin = margin
        self._read: OrderedDict[bytes, int] = OrderedDict()

    def choose(self, body: bytes, dead: Collection[int] = ()) -> int:
        """The replica for a request, by its prompt and by how many requests run where; none of the `dead`."""
        blocks = _blocks(body)
        alive = [number for number in range(len(self.running)) if number not in dead]
        idlest = min(alive, key=self.running.__getitem__)
        known = next((self._read[block] for block in reversed(blocks) if self._read.get(block) in alive), idlest)
        chosen = known if self.running[known] <= self.running[idlest] + self._margin else idlest
        self._note(blocks, chosen)
        return chosen

    def _note(self, blocks: Sequence[bytes], replica: int) -> None:
        for block in blocks:
            self._read[block] = replica
            self._read.move_to_end(block)
        while len(self._read) > REMEMBERED:
            self._read.popitem(last=False)


def _blocks(body: bytes) -> list[bytes]:
    """Digests of the prompt's beginnings, each a block longer than the one before."""
    text, digest, blocks = _prompt(body), hashlib.sha256(), []
    for start in range(0, min(len(text), MOST_BLOCKS * BLOCK), BLOCK):
        digest.update(text[start : start + BLOCK])
        blocks.append(digest.digest())
    return blocks


def _prompt(body: bytes) -> bytes:
    """What a request has of a prompt: whatever the endpoint; adapters apart. Bad bodies are the replica's task."""
    try:
        fields = json.loads(body)
        parts = [fields.get(name) for name in ("model", "tools", "instructions", "messages", "prompt", "input")]
        return json.dumps(parts, ensure_ascii=False).encode(errors="replace")
    except (ValueError, AttributeError, RecursionError):
        return b""
