"""Guesses at the next tokens from what was said before (prompt lookup: Saxena 2023; checking: Leviathan et al. 2023).

The model reads the guesses in one step and keeps those that it would have chosen itself, so the answer never changes.
"""

from collections.abc import Iterable

LONGEST, SHORTEST = 3, 2  # tokens that must have been seen before, in this order, for a guess


class Lookup:
    """The tokens of one sequence and where each run of them was last followed by something."""

    def __init__(self, tokens: Iterable[int], most: int):
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self._most, self._trust = most, max(1, most // 2)
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        """Take note of the next token."""
        end = len(self._tokens)
        for size in range(SHORTEST, min(LONGEST, end) + 1):
            self._after[tuple(self._tokens[end - size :])] = end
        self._tokens.append(token)

    def guess(self, most: int) -> list[int]:
        """What followed the longest run that the sequence ends with, the last time; at most `most` tokens."""
        for size in range(min(LONGEST, len(self._tokens)), SHORTEST - 1, -1):
            at = self._after.get(tuple(self._tokens[len(self._tokens) - size :]))
            if at is not None:
                return self._tokens[at : at + max(0, min(most, self._trust))]
        return []

    def learn(self, guessed: int, right: int) -> None:
        """Guess further after guesses that were all right, less far after wrong ones."""
        if guessed and right == guessed:
            self._trust = min(2 * self._trust, self._most)
        elif guessed:
            self._trust = max(right, 1)
