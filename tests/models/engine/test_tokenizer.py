import pytest
from transformers import AutoTokenizer

from models.engine import ChatTokenizer
from tasks.chat import assistant_call, encode_prompt
from tasks.poet_tools import POET_TOOLS
from tests import tiny

CHATS = [
    [{"role": "user", "content": "hello"}],
    [{"role": "system", "content": "写诗"}, {"role": "user", "content": "“月”<b>"}],
    [
        {"role": "user", "content": "找诗"},
        assistant_call("search_poems", query="月"),
        {"role": "tool", "content": tiny.TOOL_RESULT},
    ],
]


@pytest.mark.parametrize("messages", CHATS)
@pytest.mark.parametrize("tools", [None, POET_TOOLS])
def test_chats_are_encoded_as_transformers_does(tokenizer, messages, tools):
    reference = AutoTokenizer.from_pretrained(tiny.int4_model())
    assert encode_prompt(tokenizer, messages, tools) == encode_prompt(reference, messages, tools)


def test_control_tokens_are_left_out_of_text_and_tool_markup_is_kept(tokenizer):
    ids = tokenizer.encode("<|im_start|>a<tool_call>b</tool_call><|im_end|>")
    assert tokenizer.decode(ids) == "a<tool_call>b</tool_call>"


def test_stop_tokens_come_from_the_generation_config(tokenizer):
    assert tokenizer.stop_ids == {tokenizer.convert_tokens_to_ids("<|im_end|>")}


def test_a_directory_without_tokenizer_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        ChatTokenizer(tmp_path)
