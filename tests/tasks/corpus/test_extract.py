"""The main text of pages, with its structure; in English and Chinese, by either extractor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.documents import Malformed, draft
from tasks.corpus.extract import EXTRACTORS, Unextractable, page_tree, title_and_text
from tasks.corpus.normalise import normalise_markdown
from tests.tasks.sources.webpages import CHINESE_PAGE, ENGLISH_PAGE

both = pytest.mark.parametrize("extractor", list(EXTRACTORS))


@both
def test_the_text_stays_and_menus_go(extractor: str) -> None:
    title, text = title_and_text(ENGLISH_PAGE, extractor)
    assert title == "Tides of the bay"
    for kept in ("Twice a day the water leaves", "Add an hour in summer", "program of twelve lines"):
        assert kept in text
    for gone in ("About us", "All rights reserved", "tracked"):
        assert gone not in text


@both
def test_a_chinese_page(extractor: str) -> None:
    title, text = title_and_text(CHINESE_PAGE, extractor)
    assert title == "海湾的潮汐"
    for kept in ("海水每天两次离开海湾", "夏天要加一个小时", "港务局用十二行的程序"):
        assert kept in text
    assert "关于我们" not in text


@both
def test_tables_code_headings_and_links_are_markdown(extractor: str) -> None:
    _, text = title_and_text(ENGLISH_PAGE, extractor)
    assert "## Reading the table" in text
    assert "[table of tides](https://tides.example/table)" in text
    assert "| place | high water |\n| --- | --- |\n| Island | 06:12 |\n| Mole | 06:40 |" in text
    assert "for day in year:\n    print(day, high(day))\n```" in text
    assert "https://tides.example" not in title_and_text(ENGLISH_PAGE, extractor, links=False)[1]


def test_trafilatura_keeps_lists_emphasis_and_the_language_of_code() -> None:
    _, text = title_and_text(ENGLISH_PAGE, "trafilatura")
    assert "- Wear boots.\n- Carry a lamp.\n  - And matches." in text
    assert "**awake**" in text and "```python\n" in text


@both
def test_short_words_between_marked_ones_stay(extractor: str) -> None:
    sentence = "如 <code>passwd</code>、<b>group</b>和 <a href='https://tides.example/x'>shadow</a>所述，<i>每项</i>都用冒号分隔。"
    _, text = title_and_text(CHINESE_PAGE.replace("<h2>", f"<p>{sentence}</p><h2>"), extractor)
    plain = text.replace("*", "").replace("`", "")
    assert "如 passwd、group和 [shadow](https://tides.example/x)所述，每项都用冒号分隔。" in plain


@both
def test_line_ends_in_paragraphs_and_code_stay(extractor: str) -> None:
    own = "<p>The water leaves,<br>the moon <b>goes out<br/>\nafter it</b>, and<br>both come back in time.<br></p>"
    own += "<pre>one<br>two<br/>  three</pre>"
    _, text = title_and_text(ENGLISH_PAGE.replace("<h2>", f"{own}<h2>"), extractor)
    verse = "The water leaves,\nthe moon goes out\nafter it, and\nboth come back in time.\n\n```"
    assert verse in text.replace("*", "") and "\none\ntwo\n  three\n```" in text


@both
def test_paragraphs_that_only_line_ends_part_are_there_once(extractor: str) -> None:
    texts = [f"Paragraph {i} says what the master of the harbour has said on day {i}, and no more." for i in range(12)]
    page = f"<html><body><article><div>{'<br><br>'.join(texts)}</div></article></body></html>"
    assert title_and_text(page, extractor)[1] == "\n\n".join(texts)


def test_headings_items_and_cells_stay_on_one_line() -> None:
    own = "<h2>Low<br>water</h2><ul><li>Wear<br>boots.</li></ul><table><tr><th>a<br>b</th><th>c</th></tr>"
    own += "<tr><td><i>d<br>e</i></td><td>f</td></tr></table>"
    own += "<p>See <a href='https://tides.example/x'>the<br>list</a>.</p>"
    _, text = title_and_text(ENGLISH_PAGE.replace("<h2>", f"{own}<h2>", 1), "trafilatura")
    for line in ("## Low water", "- Wear boots.", "| a b | c |", "See [the list](https://tides.example/x)."):
        assert f"\n{line}\n" in text
    assert "| d e | f |" in text.replace("*", "")


STEPS = """<ul><li>Run the program first:<pre><code class="language-python">for day in year:
    print(day)
</code></pre>and go home for tea.</li><li>Read <b>it</b>.<ul><li>With:<pre>a = 1
b = ```2```</pre></li></ul></li></ul>
<dl><dt>open</dt><dd>Opens the gate:<pre>gate open
gate  wait</pre></dd></dl><ol><li><pre>code
alone</pre></li><li>Run <pre>one line</pre></li></ol>"""


def test_code_in_lists_keeps_its_lines() -> None:
    _, text = title_and_text(ENGLISH_PAGE.replace("<ul><li>Wear boots", f"{STEPS}<ul><li>Wear boots"), "trafilatura")
    python = "  ```python\n  for day in year:\n      print(day)\n  ```\n"
    assert f"- Run the program first:\n{python}  and go home for tea.\n- Read **it**.\n" in text
    assert "  - With:\n    ````\n    a = 1\n    b = ```2```\n    ````\n" in text
    assert "- open\n  Opens the gate:\n  ```\n  gate open\n  gate  wait\n  ```" in text
    assert "1.\n   ```\n   code\n   alone\n   ```\n2. Run `one line`" in text
    assert "      print(day)\n  ```\n\nand go home" in normalise_markdown(text)


def test_resiliparse_fences_code_in_lists_too() -> None:
    _, text = title_and_text(ENGLISH_PAGE.replace("<ul><li>Wear boots", f"{STEPS}<ul><li>Wear boots"), "resiliparse")
    assert "Opens the gate:\n```\ngate open\ngate  wait\n```" in text
    assert "1.\n```\ncode\nalone\n```" in text


def test_as_many_spans_as_a_page_may_hold_take_no_time() -> None:
    """Taken off one by one, each moves all those behind it."""
    page = f"<p>{'<span>a</span>' * 150_000}<span style='display: none'>b</span><font hidden>c</font></p>"
    tree = page_tree(page)
    assert tree.text_content() == "a" * 150_000 + "bc"
    assert [element.tag for element in tree.find(".//p")] == ["span", "font"]


def test_highlighted_code_is_code_again() -> None:
    words = "".join(f'<span class="w{i}">word{i}</span> ' for i in range(6))
    page = ENGLISH_PAGE.replace("for day in year:\n    print(day, high(day))", f"{words}\n    <em>indented</em>")
    _, text = title_and_text(page, "trafilatura")
    assert "word0 word1 word2 word3 word4 word5 \n    indented\n```" in text


def test_a_draft_of_a_page_keeps_code_and_indents_and_masks_addresses() -> None:
    page = ENGLISH_PAGE.replace("harbour office.</p>", "harbour office, tides@site.example.</p>", 1)
    one = draft({"html": page, "url": "https://site.example/tides"}, extractor="trafilatura")
    assert "    print(day, high(day))" in one.text and "\n  - And matches." in one.text
    assert "<EMAIL>" in one.text and one.scores["masked"] == 1
    assert one.url == "https://site.example/tides"
    assert '"title":"Tides of the bay"' in one.metadata and "html" not in one.metadata


@pytest.mark.parametrize("page", ["", "  ", "<div>" * 1000 + "text"])
def test_what_cannot_be_extracted_says_why(page: str) -> None:
    with pytest.raises(Unextractable, match=r"HTML|nested"):
        title_and_text(page, "trafilatura")
    with pytest.raises(Malformed, match="html"):
        draft({"html": page})


@both
@given(st.text(st.sampled_from("<>/=\"' abcdivptrl&;#x0!-\n潮"), max_size=120))
def test_no_markup_crashes_the_extractors(extractor: str, page: str) -> None:
    try:
        title, text = title_and_text(page, extractor)
        assert isinstance(title, str) and isinstance(text, str)
    except Unextractable:
        pass


@given(st.lists(st.sampled_from(["- one", "  - two", "```", "    code  here", "text  here", "", "１２"]), max_size=12))
def test_normalising_markdown_twice_changes_nothing_more(lines: list[str]) -> None:
    once = normalise_markdown("\n".join(lines), simplify=False)
    assert normalise_markdown(once, simplify=False) == once
