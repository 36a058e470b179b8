import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.apply.poems import PoemIndex
from tasks.apply.poet import check_form, poet_toolbox
from tasks.apply.tools import Tool, Toolbox, ToolError
from tasks.verse import rhymes
from tests import tiny

ECHO = {
    "type": "function",
    "function": {
        "name": "echo",
        "description": "",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    },
}


@pytest.fixture(scope="module")
def index():
    return PoemIndex(tiny.inputs()["corpus"])


@pytest.fixture(scope="module")
def poet(index):
    return poet_toolbox(index)


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("shout", "{}", "no tool 'shout'; there are echo"),
        ("echo", "{", "no JSON"),
        ("echo", "[]", "not of type 'object'"),
        ("echo", "{}", "'text' is a required property"),
        ("echo", '{"text": 1}', "not of type 'string'"),
        ("echo", '{"text": "a", "loud": true}', "loud"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(name, arguments, complaint):
    with pytest.raises(ToolError, match=complaint):
        Toolbox([Tool(ECHO, lambda text: {"text": text})]).call(name, arguments)


@given(st.text())
def test_whatever_the_arguments_only_tool_errors_come_back(arguments):
    try:
        assert set(Toolbox([Tool(ECHO, lambda text: {"text": text})]).call("echo", arguments)) == {"text"}
    except ToolError as error:
        assert str(error)


def test_a_tool_that_fails_or_hangs_is_an_error_for_the_model():
    def fails(text):
        raise RuntimeError("broken inside")

    with pytest.raises(ToolError, match="broken inside"):
        Toolbox([Tool(ECHO, fails)]).call("echo", '{"text": "a"}')
    never = threading.Event()
    with pytest.raises(ToolError, match="longer than"):
        Toolbox([Tool(ECHO, lambda text: never.wait())], timeout_s=0.05).call("echo", '{"text": "a"}')
    never.set()


def test_poems_are_found_by_any_of_their_words(index, poet):
    poem = index[7]
    for query in (poem["title"], poem["lines"][1]):
        (found,) = poet.call("search_poems", f'{{"query": "{query}"}}')["poems"]
        assert found == poem
    assert poet.call("search_poems", '{"query": "无此词句"}') == {"poems": []}


@given(st.data())
def test_every_hit_contains_the_query_and_no_more_than_asked_come(index, data):
    poem = index[data.draw(st.integers(0, len(index) - 1))]
    query = data.draw(st.sampled_from(poem["lines"]))[: data.draw(st.integers(1, 5))]
    limit = data.draw(st.integers(1, 5))
    found = index.search(query, limit=limit)
    assert 1 <= len(found) <= limit
    assert all(any(query in text for text in (hit["title"], *hit["lines"])) for hit in found)
    by_author = index.search(query, author=poem["author"], limit=200)
    assert poem in by_author and {hit["author"] for hit in by_author} == {poem["author"]}


def test_forms_are_checked_and_the_fault_is_named(poet):
    assert check_form(tiny.POEM, "5x4") == {"correct": True, "problem": ""}
    assert check_form(tiny.POEM, "5x8") == {"correct": False, "problem": "共有4句"}
    assert check_form(tiny.POEM.replace("河", ""), "5x4") == {"correct": False, "problem": "第2句有4字"}
    assert check_form(tiny.POEM.replace("河", "a"), "5x4") == {"correct": False, "problem": "第2句有非汉字“a”"}
    with pytest.raises(ToolError, match="3x3"):
        poet.call("check_form", '{"text": "a", "form": "3x3"}')


def test_rhyming_characters_rhyme_and_leave_the_asked_one_out(poet):
    characters = poet.call("rhymes_with", '{"character": "风"}')["characters"]
    assert 1 <= len(characters) <= 8 and "风" not in characters
    assert all(rhymes("风", character) for character in characters)
    assert poet.call("rhymes_with", '{"character": "x"}') == {"characters": []}
