"""What the OpenAPI document says holds for whatever schemathesis makes of it: no request makes the server fail."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving import serving

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OPERATIONS = [
    "GET /", "GET /health", "GET /metrics", "GET /v1/models", "GET /v1/models/{name}", "POST /tokenize",
    "POST /v1/chat/completions", "POST /v1/completions", "POST /v1/responses", "POST /v1/embeddings",
]  # fmt: skip
SHORT = {
    "/v1/chat/completions": ("max_tokens", "max_completion_tokens"),
    "/v1/completions": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
}


@pytest.fixture(scope="module")
def document():
    with serving(slots=4, queue=64, context=128) as (url, service):
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")
        assert service.engine.running == service.engine.waiting == 0


def test_every_operation_is_tried(document):
    found = {f"{op.ok().method.upper()} {op.ok().path}" for op in document.get_all_operations()}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", GenerationMode)
def test_whatever_is_sent_is_answered_as_described(document, operation, mode):
    method, _, path = operation.partition(" ")
    if mode == GenerationMode.NEGATIVE and method == "GET":
        pytest.skip("nothing in it can be wrong")

    @given(case=document[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=30, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def attempt(case):
        known_and_short(case)
        case.call_and_validate(checks=CHECKS)

    attempt()


def known_and_short(case) -> None:
    """Ask for the model that is there, and for short answers, as longer ones find no more."""
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body["model"] = "tiny"
        for name in SHORT.get(case.path, ()):
            if isinstance(case.body.get(name), int | None):
                case.body[name] = min(case.body.get(name) or 3, 3)
