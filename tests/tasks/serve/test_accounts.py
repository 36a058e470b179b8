"""Limits per client: how many requests and tokens a minute."""

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import StageError
from tasks.serve.accounts import Account, Accounts, network
from tasks.serve.errors import ApiError
from tasks.serve.keys import Keys
from tasks.serve.settings import Settings
from tests.serving import serving, wait_until

FIRST, SECOND = "the-first-of-two-keys", "the-second-of-two-keys"
ASK = {"model": "tiny", "prompt": [9, 10, 11], "max_tokens": 5, "ignore_eos": True}


@pytest.fixture
def keys_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# who may\n{FIRST}\n\n{SECOND}\n")
    return path


def ask(url: str, key: str = FIRST, **fields) -> httpx.Response:
    return httpx.post(f"{url}/v1/completions", json=ASK | fields, headers={"Authorization": f"Bearer {key}"})


@given(limit=st.integers(1, 50), pauses=st.lists(st.floats(0, 30), max_size=200))
def test_no_minute_has_more_than_a_minutes_worth_beyond_what_was_saved(limit, pauses):
    now, admitted = 0.0, []
    account = Account(Settings(requests_per_minute=limit), lambda: now)
    for pause in pauses:
        now += pause
        try:
            account.admit()
            admitted.append(now)
        except ApiError as refused:
            came = now + refused.retry_after_s
            assert refused.status == 429 and came > now
    for start in admitted:
        assert sum(start <= at <= start + 60 for at in admitted) <= 2 * limit


@given(limit=st.integers(1, 1000), spent=st.integers(0, 5000))
def test_one_who_waits_as_told_is_admitted(limit, spent):
    now = 0.0
    account = Account(Settings(tokens_per_minute=limit), lambda: now)
    account.spend(spent)
    try:
        account.admit()
    except ApiError as refused:
        now += refused.retry_after_s
        account.admit()


def test_clients_are_counted_apart_and_the_memory_of_them_is_bounded():
    accounts = Accounts(Settings(requests_per_minute=1), lambda: 0.0)
    accounts.of("a").admit()
    accounts.of("b").admit()
    with pytest.raises(ApiError):
        accounts.of("a").admit()
    for number in range(10_000):
        accounts.of(f"other {number}")
    accounts.of("a").admit()  # forgotten


def test_addresses_of_one_network_are_one_client():
    assert network("2001:db8:1:2::3") == network("2001:db8:1:2:ffff::1") != network("2001:db8:1:3::3")
    assert network("192.0.2.1") != network("192.0.2.2")


def test_requests_beyond_the_limit_of_a_key_are_told_when_to_come_again(keys_file):
    with serving(slots=1, api_keys_file=keys_file, requests_per_minute=2) as (url, _):
        assert [ask(url).status_code for _ in range(3)] == [200, 200, 429]
        refused = ask(url)
        assert 1 <= int(refused.headers["Retry-After"]) <= 30
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=FIRST, max_retries=0)
        with pytest.raises(openai.RateLimitError, match="2 requests per minute"):
            client.completions.create(model="tiny", prompt=[9])
        assert ask(url, SECOND).status_code == 200
        assert ask(url, "neither").status_code == 401
        assert httpx.get(f"{url}/health").status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_of_prompts_and_answers_count(stream):
    with serving(slots=1, tokens_per_minute=10) as (url, service):
        assert ask(url, stream=stream).status_code == 200  # 3 + 5 tokens
        assert ask(url, stream=stream).status_code == 200  # into debt
        wait_until(lambda: service.engine.running == 0)
        refused = ask(url, stream=stream)
        assert refused.status_code == 429 and "10 tokens per minute" in refused.text
        assert 20 < int(refused.headers["Retry-After"]) <= 42  # six and one to flow back


def test_an_embedded_text_counts():
    with serving(slots=1, tokens_per_minute=10) as (url, _):
        body = {"model": "tiny", "input": [list(range(9, 24))]}
        assert [httpx.post(f"{url}/v1/embeddings", json=body).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    ("content", "words"), [("# nobody\n", "no key"), ("short\n", "1 keys of less than 16"), (None, "cannot")]
)
def test_a_bad_file_of_keys_is_refused(tmp_path, content, words):
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StageError, match=words):
        Keys(Settings(api_keys_file=path))
