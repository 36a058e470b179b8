"""The engine: a thread that steps a scheduler while there is work, and a bounded door for requests."""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from models.engine.grammar import Vocabulary
from models.engine.request import Emit, Request
from models.engine.sampler import Sampling
from models.engine.scheduler import Limits, Scheduler, Session, Tokenizer

log = logging.getLogger(__name__)


class QueueFull(RuntimeError):
    """As many requests wait as the engine lets wait; try again later."""


class Draining(RuntimeError):
    """The engine takes no new requests: it is about to close."""


class Engine:
    """Requests from any thread, answers through callbacks that run in the engine's thread (keep them short).

    `queue` is how many requests may wait beyond those that have a slot. Close it, or use it as a context manager.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        queue: int = 64,
        limits: Limits | None = None,
        vocabulary: Vocabulary | None = None,
    ):
        self.session, self.tokenizer, self.queue = session, tokenizer, queue
        self.scheduler = Scheduler(session, tokenizer, limits, vocabulary)
        self._lock = threading.Condition()
        self._arrivals: list[Request] = []
        self._texts: deque[tuple[Sequence[int], int, Future[np.ndarray]]] = deque()
        self._draining = self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, prompt: Sequence[int], sampling: Sampling, emit: Emit, adapter: int = 0) -> Request:
        """Queue a request; `emit` gets a Piece per token, then one Finished. `request.cancel()` ends it early.

        Raises QueueFull, Draining, and what Scheduler.prepare raises.
        """
        self._check_door()
        request = self.scheduler.prepare(prompt, sampling, emit, adapter)
        with self._lock:
            self._check_door()
            self._arrivals.append(request)
            self._lock.notify_all()
            return request

    def embed(self, tokens: Sequence[int], adapter: int = 0) -> "Future[np.ndarray]":
        """The mean of the last hidden states [hidden] of a text, once a slot is free. Raises QueueFull and Draining."""
        future: Future[np.ndarray] = Future()
        with self._lock:
            self._check_door()
            self._texts.append((tokens, adapter, future))
            self._lock.notify_all()
        return future

    def _check_door(self) -> None:
        if self._draining:
            raise Draining("the server is shutting down")
        if self.running + self.waiting >= self.session.slots + self.queue:
            raise QueueFull(f"{self.queue} requests wait already, and no more may")

    @property
    def running(self) -> int:
        """Requests that hold a slot."""
        return self.scheduler.running

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._arrivals) + len(self.scheduler.waiting) + len(self._texts)

    @property
    def draining(self) -> bool:
        return self._draining

    def drain(self) -> None:
        """Take no new requests; those under way go on."""
        with self._lock:
            self._draining = True

    def close(self) -> None:
        """End what is under way with reason "error" and stop the thread."""
        with self._lock:
            self._draining = self._closed = True
            self._lock.notify_all()
        self._thread.join()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                self._embed_next()
                self.scheduler.step()
            except Exception:
                # One bad step must not leave every client waiting for ever: end them, say why, serve the next.
                log.exception("a step failed; its requests end with an error")
                self.scheduler.abort()
        self.scheduler.abort()
        for *_, future in self._texts:
            future.cancel()

    def _embed_next(self) -> None:
        """One text between two steps, when a slot is free."""
        if not self._texts or None not in self.scheduler.slots:
            return
        tokens, adapter, future = self._texts.popleft()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(
                    self.session.embed(np.asarray(tokens), self.scheduler.slots.index(None), adapter=adapter)
                )
            except Exception as error:
                future.set_exception(error)

    def _wait_for_work(self) -> bool:
        with self._lock:
            while not (self._closed or self._arrivals or self._texts or self.scheduler.busy):
                self._lock.wait()
            self.scheduler.waiting.extend(self._arrivals)
            self._arrivals.clear()
            return not self._closed
