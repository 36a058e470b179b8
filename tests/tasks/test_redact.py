"""What is shown and kept of an address: never its user, its password or its query."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.redact import without_secrets


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("https://ada:s3cret@host.example/a.jsonl", "https://host.example/a.jsonl"),
        ("https://t0ken@host.example:8443/a?x=1&token=s3cret#sha256=ab", "https://host.example:8443/a#sha256=ab"),
        ("https://ada:s3c@ret@host.example/a", "https://host.example/a"),
        ("GET https://host.example/a?sig=s3cret: HTTP 403", "GET https://host.example/a: HTTP 403"),
        (
            'corpus.sources=["https://a:s3cret@h/x?t=s3cret#sha256=ab", "s3://bucket/key"]',
            'corpus.sources=["https://h/x#sha256=ab", "s3://bucket/key"]',
        ),
        ("corpus.sources=[https://h/x?t=s3cret,1]", "corpus.sources=[https://h/x]"),
        ("pypi:moon==1.0#sdist", "pypi:moon==1.0#sdist"),
        ("npm:@scope/moon@1.0", "npm:@scope/moon@1.0"),
        ("hf:datasets/owner/name@main/a.jsonl", "hf:datasets/owner/name@main/a.jsonl"),
        ("./texts.jsonl", "./texts.jsonl"),
        ("Is it there? See https://host.example.", "Is it there? See https://host.example."),
        ("write to a@b.example", "write to a@b.example"),
    ],
)
def test_an_address_is_shown_without_its_secrets(said: str, shown: str) -> None:
    assert without_secrets(said) == shown
    assert without_secrets(shown) == shown


NAMES = st.text("abcxyz019", min_size=1, max_size=5)


@given(st.text(max_size=10), NAMES, st.text("s3cret:%!$&*+@", max_size=8), NAMES)
def test_no_password_and_no_query_survives(before: str, user: str, password: str, token: str) -> None:
    shown = without_secrets(f"{before} https://{user}:KEY{password}@host/path?token=KEY{token}&other=KEY#sha256=1")
    assert "KEY" not in shown and shown.endswith("https://host/path#sha256=1")
