"""The engine: a thread that steps a scheduler while there is work, and a bounded door for requests."""

import logging
import threading
from collections.abc import Sequence

from models.engine.sampler import Sampling
from models.engine.scheduler import Emit, Request, Scheduler, Session, Tokenizer

log = logging.getLogger(__name__)


class QueueFull(RuntimeError):
    """As many requests wait as the engine lets wait; try again later."""


class Draining(RuntimeError):
    """The engine takes no new requests: it is about to close."""


class Engine:
    """Requests from any thread, answers through callbacks that run in the engine's thread (keep them short).

    `queue` is how many requests may wait beyond those that have a slot. Close it, or use it as a context manager.
    """

    def __init__(self, session: Session, tokenizer: Tokenizer, queue: int = 64, chunk: int = 256):
        self.session, self.tokenizer, self.queue = session, tokenizer, queue
        self._scheduler = Scheduler(session, tokenizer, chunk)
        self._lock = threading.Condition()
        self._arrivals: list[Request] = []
        self._draining = self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, prompt: Sequence[int], sampling: Sampling, emit: Emit) -> Request:
        """Queue a request; `emit` gets a Piece per token, then one Finished. `request.cancel()` ends it early.

        Raises QueueFull, Draining, and what Scheduler.prepare raises.
        """
        with self._lock:
            if self._draining:
                raise Draining("the server is shutting down")
            if self.running + self.waiting >= self.session.slots + self.queue:
                raise QueueFull(f"{self.queue} requests wait already, and no more may")
            request = self._scheduler.prepare(prompt, sampling, emit)
            self._arrivals.append(request)
            self._lock.notify_all()
            return request

    @property
    def running(self) -> int:
        """Requests that hold a slot."""
        return self._scheduler.running

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._arrivals) + len(self._scheduler.waiting)

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
                self._scheduler.step()
            except Exception:
                # One bad step must not leave every client waiting for ever: end them, say why, serve the next.
                log.exception("a step failed; its requests end with an error")
                self._scheduler.abort()
        self._scheduler.abort()

    def _wait_for_work(self) -> bool:
        with self._lock:
            while not (self._closed or self._arrivals or self._scheduler.busy):
                self._lock.wait()
            self._scheduler.waiting.extend(self._arrivals)
            self._arrivals.clear()
            return not self._closed
