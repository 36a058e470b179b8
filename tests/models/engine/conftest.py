import pytest

from models.engine import ChatTokenizer, OnnxSession
from tests import tiny


@pytest.fixture(scope="session")
def session() -> OnnxSession:
    return OnnxSession(tiny.int4_model(), slots=6, threads=1)


@pytest.fixture(scope="session")
def tokenizer() -> ChatTokenizer:
    return ChatTokenizer(tiny.int4_model())
