"""The one error that a person must mend, and that is therefore never retried."""


class StageError(Exception):
    """What is wrong, where, what was expected, and what to do next. Never retried: running again would not help."""
