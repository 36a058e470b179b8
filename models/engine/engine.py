"""The engine: a thread that steps a scheduler while there is work, and a bounded door for requests."""

import logging
import threading

from models.engine.grammar import Vocabulary
from models.engine.request import Request
from models.engine.scheduler import Limits, Scheduler, Session, Tokenizer

log = logging.getLogger(__name__)


class QueueFull(RuntimeError):
    """As many requests wait as the engine lets wait; try again later."""


class Draining(RuntimeError):
    """The engine takes no new requests: it is about to close."""


class Engine:
    """Requests from any thread, answers through callbacks that run in the engine's thread (keep them short).

    `scheduler` prepares requests, in any thread.
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
        self._draining = self._closed = self._resting = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Queue what the scheduler prepared; `request.cancel()` ends it early. Raises QueueFull and Draining."""
        with self._lock:
            self.check_door()
            self._arrivals.append(request)
            self._lock.notify_all()

    def check_door(self) -> None:
        """Raises QueueFull and Draining when nothing is taken now, before anything is done in vain."""
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
        return len(self._arrivals) + len(self.scheduler.waiting)

    @property
    def idle(self) -> bool:
        """Whether there is no request at all, also none between queue and slot, which neither of the above counts."""
        with self._lock:
            return self._resting and not self._arrivals

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
                self.scheduler.step()
            except Exception:
                # One bad step must not leave every client waiting for ever: end them, say why, serve the next.
                log.exception("a step failed; its requests end with an error")
                self.scheduler.abort()
        self.scheduler.abort()

    def _wait_for_work(self) -> bool:
        with self._lock:
            while not (self._closed or self._arrivals or self.scheduler.busy):
                self._resting = True
                self._lock.wait()
            self._resting = False
            self.scheduler.waiting.extend(self._arrivals)
            self._arrivals.clear()
            return not self._closed
