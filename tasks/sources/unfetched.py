"""The error of one attempt to fetch."""


class Unfetched(Exception):
    """One attempt that brought nothing: what was tried and what it answered."""

    def __init__(self, message: str, worth_a_retry: bool = True) -> None:
        super().__init__(message)
        self.worth_a_retry = worth_a_retry
