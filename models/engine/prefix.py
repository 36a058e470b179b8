"""Keys and values of prompts read before, by adapter and tokens: a radix tree of blocks (Zheng et al. 2024, SGLang, 3).

A block is copied into the slot of a request that begins with it, so that requests never share memory that one of them
writes. Only what was read as part of a prompt is kept: it comes out the same bit for bit however it was read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import numpy as np

BLOCK = 32  # tokens; a prompt's rest is read again


@dataclass
class Node:
    """One block of a prefix, behind the blocks of its parents."""

    tokens: tuple[int, ...]
    values: np.ndarray | None
    parent: "Node | None"
    children: dict[tuple[int, ...], "Node"] = field(default_factory=dict)
    used: int = 0


class PrefixCache:
    """At most `capacity` positions; the least recently used ends of prefixes go first."""

    def __init__(self, capacity: int):
        self.capacity, self.positions = capacity, 0
        self._roots: dict[int, Node] = {}
        self._clock = 0

    def match(self, prompt: Sequence[int], adapter: int = 0) -> list[np.ndarray]:
        """The known blocks that `prompt` begins with, never all of it: its last token must be read for its logits."""
        return [node.values for node in self._path(prompt[:-1], adapter) if node.values is not None]

    def insert(self, prompt: Sequence[int], read: Callable[[int, int], np.ndarray], adapter: int = 0) -> None:
        """Keep the whole blocks of a prompt; `read(start, end)` copies the values of those that are new."""
        path = self._path(prompt, adapter)
        node = path[-1] if path else self._root(adapter)
        for start in range(len(path) * BLOCK, len(prompt) - BLOCK + 1, BLOCK):
            if not self.shrink(self.capacity - BLOCK, {id(kept) for kept in path}):
                return
            tokens = tuple(prompt[start : start + BLOCK])
            child = Node(tokens, read(start, start + BLOCK), node, used=self._clock)
            node.children[tokens] = child
            self.positions += BLOCK
            node = child
            path.append(child)

    def shrink(self, positions: int, keep: frozenset[int] | set[int] = frozenset()) -> bool:
        """Forget until at most that many positions are kept; False when all that is left is to be kept."""
        if self.positions <= positions:
            return positions >= 0
        ends = [(node.used, id(node), node) for node in self._leaves() if id(node) not in keep]
        heapify(ends)
        while self.positions > max(positions, 0):
            if not ends:
                return False
            _, _, oldest = heappop(ends)
            parent = oldest.parent
            assert parent is not None  # only roots have none, and they are no leaves
            del parent.children[oldest.tokens]
            self.positions -= BLOCK
            if parent.parent is not None and not parent.children and id(parent) not in keep:
                heappush(ends, (parent.used, id(parent), parent))
        return positions >= 0

    def _root(self, adapter: int) -> Node:
        return self._roots.setdefault(adapter, Node((), None, None))

    def _path(self, tokens: Sequence[int], adapter: int) -> list[Node]:
        self._clock += 1
        node, path = self._root(adapter), []
        for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
            child = node.children.get(tuple(tokens[start : start + BLOCK]))
            if child is None:
                break
            child.used = self._clock
            path.append(child)
            node = child
        return path

    def _leaves(self) -> list[Node]:
        found, pending = [], [node for root in self._roots.values() for node in root.children.values()]
        while pending:
            node = pending.pop()
            pending.extend(node.children.values())
            if not node.children:
                found.append(node)
        return found
