from tests import tiny

PROMPT = f"<|im_start|>user\n{tiny.GREETING}<|im_end|>\n<|im_start|>assistant\n"


def test_text_is_continued(client):
    reply = client.completions.create(model="tiny", prompt=PROMPT, temperature=0)
    assert (reply.choices[0].text, reply.choices[0].finish_reason) == (tiny.GREETED, "stop")


def test_token_ids_are_a_prompt_too(client, service):
    reply = client.completions.create(model="tiny", prompt=service.model.tokenizer.encode(PROMPT), temperature=0)
    assert reply.choices[0].text == tiny.GREETED


def test_streamed_text_joins_to_the_same(client):
    chunks = list(client.completions.create(model="tiny", prompt=PROMPT, temperature=0, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == tiny.GREETED
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_log_probabilities_line_up_with_the_text(client):
    choice = client.completions.create(model="tiny", prompt=PROMPT, temperature=0, logprobs=1).choices[0]
    assert "".join(choice.logprobs.tokens) == choice.text
    for offset, token in zip(choice.logprobs.text_offset, choice.logprobs.tokens, strict=True):
        assert choice.text[offset:].startswith(token)
