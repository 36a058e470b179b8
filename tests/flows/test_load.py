"""`fullchain bench-serve`, on a server of our own."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.serving import serving


def bench(*arguments: str):
    return CliRunner().invoke(app, ["bench-serve", *arguments, "--requests", "6", "--prompt", "5", "--tokens", "4"])


@pytest.mark.parametrize("load", [("--clients", "3"), ("--rate", "40")])
def test_load_is_put_on_a_server_and_measured(load):
    with serving(slots=2) as (url, _):
        done = bench(url, *load, "--json")
        assert done.exit_code == 0, done.output
        result = json.loads(done.output)
        assert (result["requests"], result["failed"], result["tokens"]) == (6, 0, 24)
        assert "first token ms" in bench(f"{url}/v1", *load).output


def test_a_server_that_is_not_there_is_named():
    done = bench("http://127.0.0.1:9")
    assert done.exit_code == 1
