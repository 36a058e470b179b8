"""The error of one attempt to fetch."""

from tasks.redact import without_secrets


class Unfetched(Exception):
    """One attempt that brought nothing: what was tried and what it answered, without any secret of an address."""

    def __init__(self, message: str, worth_a_retry: bool = True) -> None:
        super().__init__(without_secrets(message))
        self.worth_a_retry = worth_a_retry
