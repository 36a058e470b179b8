import openai
import pytest

from tests.serving import serving


@pytest.fixture(scope="session")
def server():
    with serving(slots=2, queue=2) as (url, service):
        yield url, service


@pytest.fixture
def url(server) -> str:
    return server[0]


@pytest.fixture
def service(server):
    return server[1]


@pytest.fixture
def client(url) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
