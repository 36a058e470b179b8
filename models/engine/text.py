"""Text out of a stream of tokens: whole characters only, and nothing that may belong to a stop string."""

from collections.abc import Callable, Sequence

BROKEN = "\ufffd"  # what a decoder writes for bytes that are no complete character


class TextStream:
    """Turns tokens into text pieces as they come; the pieces joined are the answer up to the first stop string."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()):
        self._decode, self._stop = decode, tuple(stop)
        self._tokens: list[int] = []
        self._shown = self._read = 0  # tokens whose text is out; tokens of which the text before is known
        self._known = self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that this token makes certain, often empty."""
        self._tokens.append(token)
        text, known = self._decode(self._tokens[self._shown :]), self._known
        if len(text) <= len(known) or text.endswith(BROKEN):
            return ""
        self._shown, self._read = self._read, len(self._tokens)
        self._known = self._decode(self._tokens[self._shown :])
        return self._release(text[len(known) :])

    def flush(self) -> str:
        """What was held back, once it is certain that no token follows."""
        if self.stopped:
            return ""
        rest = self._decode(self._tokens[self._shown :])[len(self._known) :]
        self._shown, self._known = len(self._tokens), ""
        text = self._release(rest) + self._held
        self._held = ""
        return text

    def _release(self, text: str) -> str:
        text = self._held + text
        ends = [end for end in (text.find(stop) for stop in self._stop) if end >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)]
        keep = max((overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
