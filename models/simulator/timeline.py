"""Streams that each work through their tasks in order, side by side; a task also waits for others that feed it."""


class Timeline:
    """Adds tasks and knows when each ends; busy time per stream says what is exposed and what is hidden."""

    def __init__(self) -> None:
        self._free: dict[str, float] = {}
        self.busy: dict[str, float] = {}

    def add(self, stream: str, duration: float, *after: float) -> float:
        """A task on `stream` that starts when the stream is free and all `after` times are past; its end."""
        end = max(self._free.get(stream, 0.0), *after, 0.0) + duration
        self._free[stream] = end
        self.busy[stream] = self.busy.get(stream, 0.0) + duration
        return end

    @property
    def end(self) -> float:
        """When all streams are done."""
        return max(self._free.values(), default=0.0)
