import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.engine import Finished, Limits, PromptTooLong, Sampling, Scheduler, generate
from tasks.chat import encode_prompt
from tests import tiny


@pytest.fixture(scope="module")
def prompts(tokenizer):
    texts = [tiny.GREETING, tiny.POEM_REQUEST, "hello hello", "山", "一" * 90, "write", "a b c", "月月", "x" * 50]
    return [encode_prompt(tokenizer, [{"role": "user", "content": text}]) for text in texts]


def test_what_was_learnt_is_said(session, tokenizer, prompts):
    greedy = Sampling(temperature=0)
    greeted, poem = generate(session, tokenizer, prompts[:2], [greedy, greedy])
    assert (greeted.text, greeted.reason) == (tiny.GREETED, "stop")
    assert (poem.text, poem.reason) == (tiny.POEM, "stop")


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_an_answer_is_the_same_alone_and_in_any_company(session, tokenizer, prompts, data):
    """Whatever joins, leaves or is cancelled around it, in any order, with any chunk size: the tokens do not change."""
    company = data.draw(st.lists(st.tuples(st.sampled_from(prompts), st.integers(1, 40)), min_size=1, max_size=14))
    how = [Sampling(temperature=[0, 0.9][i % 2], seed=i, max_tokens=n) for i, (_, n) in enumerate(company)]
    alone = [generate(session, tokenizer, [p], [s])[0].tokens for (p, _), s in zip(company, how, strict=True)]
    scheduler = Scheduler(session, tokenizer, Limits(data.draw(st.sampled_from([1, 8, 256]))))
    heard, requests = [[] for _ in company], []
    for (prompt, _), sampling, events in zip(company, how, heard, strict=True):
        requests.append(scheduler.prepare(prompt, sampling, events.append))
        scheduler.waiting.append(requests[-1])
        for _ in range(data.draw(st.integers(0, 3))):
            scheduler.step()
    cancelled = data.draw(st.integers(0, len(company) - 1))
    requests[cancelled].cancel()
    while scheduler.busy:
        scheduler.step()
    for events, tokens in zip(heard, alone, strict=True):
        assert isinstance(events[-1], Finished)
        said = [event.choice.token for event in events[:-1]]
        assert said == (tokens[: len(said)] if events[-1].reason == "cancelled" else tokens)


def test_answers_end_at_their_limit_at_a_stop_string_and_at_the_end_of_the_context(session, tokenizer, prompts):
    limited, stopped = generate(
        session,
        tokenizer,
        prompts[:2],
        [Sampling(temperature=0, max_tokens=3), Sampling(temperature=0, stop=("入海",))],
    )
    assert (len(limited.tokens), limited.reason) == (3, "length")
    assert (stopped.text, stopped.reason) == ("白日依山尽，\n黄河", "stop")
    almost_full = [9] * (session.length - 2)
    (full,) = generate(session, tokenizer, [almost_full], [Sampling(temperature=0)])
    assert len(full.tokens) <= 2


def test_a_prompt_that_leaves_no_room_is_refused(session, tokenizer):
    with pytest.raises(PromptTooLong, match=f"{session.length} tokens"):
        Scheduler(session, tokenizer).prepare([9] * session.length, Sampling(), print)
    with pytest.raises(ValueError, match="empty"):
        Scheduler(session, tokenizer).prepare([], Sampling(), print)


def test_short_texts_are_embedded_although_chats_keep_the_queue_full(session, tokenizer):
    scheduler, ends, answered = Scheduler(session, tokenizer), [], []

    def fill_up() -> None:
        while len(scheduler.waiting) < 10:
            ask = scheduler.prepare([9, 10], Sampling(max_tokens=4, ignore_end=True), answered.append)
            scheduler.waiting.append(ask)

    fill_up()
    scheduler.waiting.append(scheduler.prepare_texts([[9 + n, 10, 11] for n in range(64)], ends.append))
    while not ends:
        scheduler.step()
        fill_up()
    chats = sum(isinstance(event, Finished) for event in answered)
    assert len(ends[0].vectors) == 64 and chats <= 10  # those that were there before it, and no more
    scheduler.abort()
