"""What makes verse better or worse, by rule."""

from tasks.poems import verse
from tasks.poet_requests import Request
from tasks.verse import form_of, punctuated_in_couplets, repetition, rhyme_rate, split_lines

WELL_FORMED = 1.0  # the quality of verse that keeps its form, before rhyme and variety are looked at
CLEARLY = 0.2  # the least difference in quality that is a preference


def quality(text: str, form: str) -> float:
    """0 to 2: at least 1 when the form is kept, more the better it rhymes, less the more it repeats itself."""
    lines = split_lines(text)
    if form_of(lines) != form or not punctuated_in_couplets(text):
        return max(0.0, 0.5 - 0.1 * abs(len(lines) - int(form.split("x")[1])))
    rhyme = rhyme_rate(lines)
    return WELL_FORMED + (0.5 if rhyme is None else rhyme) - min(1.0, 3 * repetition(text))


def answer_quality(request: Request, answer: str) -> float:
    """The quality of the verse that an answer completes; of the answer itself where the prompt gives no line."""
    characters, count = request.check["form"].split("x")
    return quality(_begun(request) + answer, f"{characters}x{int(count) + len(request.given)}")


def _begun(request: Request) -> str:
    """The given lines as the beginning of a verse, so that an answer goes on in mid-couplet or with a new one."""
    return verse([*request.given, ""]).removesuffix("。").rstrip("\n") if request.given else ""
