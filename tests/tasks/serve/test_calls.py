"""Words and calls told apart as they come, however the text is cut."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.chat import parse_tool_calls
from tasks.serve.calls import CallArguments, CallBegun, CallSplitter, Words

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
ARGUMENTS = st.dictionaries(st.text(), JSON, max_size=4)
NAMES = st.from_regex(r"[a-zA-Z0-9_.-]{1,12}", fullmatch=True)
CALLS = st.builds(
    lambda name, arguments, ascii_only, indent: "<tool_call>\n"
    + json.dumps({"name": name, "arguments": arguments}, ensure_ascii=ascii_only, indent=indent)
    + "\n</tool_call>",
    NAMES, ARGUMENTS, st.booleans(), st.sampled_from([None, 1]),
)  # fmt: skip
SCRAPS = st.sampled_from(
    ["<tool_call>", "</tool_call>", '{"name": "f", "arguments": ', '{"a": 1}', "}", "{", '"', "\\", "<tool", "x", "\n"]
)
TEXTS = st.lists(CALLS | SCRAPS | st.text(max_size=5), max_size=6).map("".join)


def told(text: str, cuts: list[int], start: str = "", at_most: int | None = None):
    """(words, pieces of arguments by number, names by number, the splitter) when `text` comes cut there."""
    splitter = CallSplitter(start, at_most)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    events = [event for a, b in itertools.pairwise(places) for event in splitter.push(text[a:b])]
    words, pieces, names = "", {}, {}
    for event in events + splitter.end():
        match event:
            case Words(said):
                words += said
            case CallBegun(number, _, name):
                assert number == len(names)
                names[number], pieces[number] = name, ""
            case CallArguments(number, piece):
                pieces[number] += piece
    return words, pieces, names, splitter


def parses(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


@given(TEXTS, st.lists(st.integers(0, 400), max_size=60))
def test_the_pieces_that_parse_are_the_good_calls(text, cuts):
    words, pieces, names, splitter = told(text, cuts)
    _, calls, _ = parse_tool_calls(text)
    good = [(call.name, call.arguments) for call in splitter.calls]
    assert [(name, json.loads(arguments)) for name, arguments in good] == [(c.name, c.arguments) for c in calls]
    assert [(names[number], pieces[number]) for number in pieces if parses(pieces[number])] == good
    assert words == (text[: text.index("<tool_call>")] if calls else text)


@given(TEXTS, st.lists(st.integers(0, 400), max_size=60))
def test_what_is_told_does_not_depend_on_the_cuts(text, cuts):
    words, _, _, splitter = told(text, list(range(len(text))))
    assert (words, splitter.broken) == (told(text, cuts)[0], told(text, cuts)[3].broken)
    assert [c.arguments for c in splitter.calls] == [c.arguments for c in told(text, cuts)[3].calls]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "f", "arguments": {"a": 1}',  # cut
        '<tool_call>\n{"name": "f", "arguments": {"a": }}\n</tool_call>',
        '<tool_call>\n{"name": "f", "arguments": {"a": 1}, \n</tool_call>',
        '<tool_call>\n{"name": "f", "arguments": {"a": 1}, "name": "g"}\n</tool_call>',
        '<tool_call>\n{"name": "f", "arguments": {"a": 1}, "arguments": {}}\n</tool_call>',
    ],
)
def test_a_call_that_turns_out_malformed_never_parses_and_its_text_is_said(text):
    words, pieces, names, splitter = told(text, list(range(len(text))))
    assert names == {0: "f"} and pieces[0].startswith('{"a"') and not parses(pieces[0])
    assert (words, splitter.calls, splitter.broken) == (text, [], 1)


def test_arguments_come_as_they_are_written():
    splitter = CallSplitter('<tool_call>\n{"name": "f", "arguments":')
    begun, piece = splitter.push(' {"city": "Par')
    assert (begun.number, begun.name, piece) == (0, "f", CallArguments(0, '{"city": "Par'))
    assert splitter.push("is") == [CallArguments(0, "is")]
    assert splitter.push('"}') == [CallArguments(0, '"')]
    assert splitter.push("}") == []
    assert splitter.end() == [CallArguments(0, "}")]


def test_of_calls_beyond_the_most_nothing_is_told():
    one = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    _, pieces, _, splitter = told(one * 3, list(range(200)), at_most=1)
    assert pieces == {0: "{}"} and len(splitter.calls) == 1
