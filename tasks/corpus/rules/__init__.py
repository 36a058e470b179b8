"""The rules a draft must pass. Each is a datatrove filter: True, or (False, what was found); all are asked, always.

A further rule is a class in the module of what it looks at, and its place in `rules_of`; its verdicts become a column
of the ledger.
"""

from tasks.corpus.rules.order import Limits, rules_of
from tasks.corpus.rules.rule import Bound, Rule

__all__ = ["Bound", "Limits", "Rule", "rules_of"]
