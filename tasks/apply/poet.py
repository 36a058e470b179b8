"""The poet's tools, over the cleaned corpus."""

from typing import Any

from tasks.apply.poems import PoemIndex
from tasks.apply.tools import Tool, Toolbox
from tasks.poet_tools import CHECK_FORM, RHYMES_WITH, SEARCH_POEMS, form_problem
from tasks.verse import rhyme_group

SEARCHED, MOST = 1, 5  # poems given when the model does not say how many, and at most: it reads every word of them
RHYMING = 8  # characters given
LINES = 8  # of a poem, the first ones: a long ballad would fill the context


def poet_toolbox(index: PoemIndex, timeout_s: float = 10.0) -> Toolbox:
    """`search_poems`, `check_form` and `rhymes_with`, as tasks/poet_tools.py describes them."""
    common = index.common_characters()

    def search_poems(query: str, author: str = "", limit: int = SEARCHED) -> dict[str, Any]:
        found = index.search(query, author, max(1, min(limit, MOST)))
        return {"poems": [poem | {"lines": poem["lines"][:LINES]} for poem in found]}

    def rhymes_with(character: str) -> dict[str, Any]:
        group = rhyme_group(character[:1])
        rhyming = (other for other in common if group and other != character and rhyme_group(other) == group)
        return {"characters": [other for other, _ in zip(rhyming, range(RHYMING), strict=False)]}

    functions = ((SEARCH_POEMS, search_poems), (CHECK_FORM, check_form), (RHYMES_WITH, rhymes_with))
    return Toolbox([Tool(schema, function) for schema, function in functions], timeout_s)


def check_form(text: str, form: str) -> dict[str, Any]:
    """Whether a text is verse of a form such as 5x4, characters per line by lines, and what is wrong if it is not."""
    problem = form_problem(text, form)
    return {"correct": not problem, "problem": problem}
