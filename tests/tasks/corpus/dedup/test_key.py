"""What counts when texts are compared: words and Chinese characters, nothing around them."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from tasks.corpus.dedup.key import key_of
from tasks.verse import HAN


@given(st.text(st.one_of(st.sampled_from(" _-ab,。风\n\U0001f600\U00031234\U000e0100"), st.characters()), max_size=40))
@example("a -_- b__c  d")
@example("\ud800a〇\ufad0")
def test_every_run_of_what_is_no_word_is_one_space(text: str) -> None:
    assert key_of(text) == re.sub(rf"[^{HAN}\w]+|_+", " ", text.lower()).strip()


def test_case_punctuation_and_line_ends_do_not_count() -> None:
    assert key_of("Read THE manual:\n(it is «here»)") == key_of("read the manual -- it is here!") != key_of("read it")
    assert key_of("风、花，雪。月") == "风 花 雪 月"
    assert key_of("...") == key_of("") == ""
