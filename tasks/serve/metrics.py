"""Counters of one server, in Prometheus's text format."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from models.engine import Engine, Finished

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Traffic:
    """What passes a door. One registry per app, so that two servers in one process do not share counts."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("fullchain_requests", "Requests answered", ["path", "status"], registry=registry)
        self.duration = Histogram(
            "fullchain_request_seconds",
            "Time from request to the last byte",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )

    def text(self) -> bytes:
        return generate_latest(self.registry)


class Metrics(Traffic):
    """What passes the door of one server, and what its engine does."""

    def __init__(self, engine: Callable[[], Engine]):
        super().__init__()
        registry = self.registry
        self.first_token = Histogram(
            "fullchain_first_token_seconds", "Time from request to the first token", buckets=SECONDS, registry=registry
        )
        self.tokens = Counter("fullchain_tokens", "Tokens read and written", ["kind"], registry=registry)
        self.endings = Counter("fullchain_answers", "Answers by how they ended", ["reason"], registry=registry)
        self.broken_calls = Counter("fullchain_broken_tool_calls", "Tool calls that do not parse", registry=registry)
        now = {
            "requests_running": ("Requests that have a slot", lambda: engine().running),
            "requests_waiting": ("Requests that wait for a slot", lambda: engine().waiting),
            "slots": ("Requests that can run at once", lambda: engine().session.slots),
            "prefix_positions": ("Tokens in the prefix cache", lambda: engine().scheduler.prefixes.positions),
            "preemptions": ("Requests that gave way since the model was loaded", lambda: engine().scheduler.preempted),
            "tokens_guessed": ("Tokens guessed since then", lambda: engine().scheduler.guessed),
            "tokens_guessed_right": ("Of them, right ones", lambda: engine().scheduler.guessed_right),
        }
        for name, (meaning, value) in now.items():
            Gauge(f"fullchain_{name}", meaning, registry=registry).set_function(value)

    def count_tokens(self, finished: Finished) -> None:
        self.tokens.labels("prompt").inc(finished.prompt_tokens)
        self.tokens.labels("cached").inc(finished.cached_tokens)
        self.tokens.labels("answer").inc(finished.answer_tokens)
        self.endings.labels(finished.reason).inc()
