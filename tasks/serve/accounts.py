"""How much one client may ask for: requests and tokens per minute, by API key or address."""

import ipaddress
import math
import time
from collections.abc import Callable

from tasks.serve.errors import ApiError
from tasks.serve.settings import Settings

MOST = 10_000  # clients remembered; those seen least recently are forgotten first
TOLD = 16  # tokens of answers that are told together: what one who hangs up may get for nothing
Clock = Callable[[], float]


class Bucket:
    """So many units per minute, of which a minute's worth can be saved up: a token bucket (RFC 2697, section 3)."""

    def __init__(self, per_minute: int, clock: Clock):
        self.per_minute, self._clock = per_minute, clock
        self._level, self._seen = float(per_minute), clock()

    def wait_s(self) -> float:
        """Seconds until a unit can be taken."""
        now = self._clock()
        gained = (now - self._seen) * self.per_minute / 60
        self._level, self._seen = min(self._level + gained, float(self.per_minute)), now
        return max(0.0, 1 - self._level) * 60 / self.per_minute

    def take(self, units: int) -> None:
        """Take them now; what is more than there was must flow back before the next can be taken."""
        self._level -= units


class Account:
    """One client's buckets, by what they count; a limit of 0 is none."""

    def __init__(self, settings: Settings, clock: Clock):
        limits = {"requests": settings.requests_per_minute, "tokens": settings.tokens_per_minute}
        self._buckets = {what: Bucket(limit, clock) for what, limit in limits.items() if limit}

    def admit(self) -> None:
        """Count one request. Raises ApiError 429, which says when to come again."""
        for what, bucket in self._buckets.items():
            if wait := math.ceil(bucket.wait_s()):
                message = f"more than {bucket.per_minute} {what} per minute; try again in {wait} s"
                raise ApiError(429, message, code="rate_limit_exceeded", retry_after_s=wait)
        self._take("requests", 1)

    def spend(self, tokens: int) -> None:
        """Count tokens of a prompt, or of an answer as they come."""
        self._take("tokens", tokens)

    def _take(self, what: str, units: int) -> None:
        if bucket := self._buckets.get(what):
            bucket.take(units)


class Tally:
    """Counts for an account that is elsewhere, and refuses nothing; `due()` is called when some should be told there.

    That is at once for the first, those of a prompt, and then for every TOLD.
    """

    def __init__(self, due: Callable[[], None]) -> None:
        self._tokens, self._least, self._due = 0, 1, due

    def admit(self) -> None:
        """Requests are counted where the account is."""

    def spend(self, tokens: int) -> None:
        self._tokens += tokens
        if self._tokens >= self._least:
            self._least = TOLD
            self._due()

    def taken(self) -> int:
        """The tokens since this was asked last."""
        tokens, self._tokens = self._tokens, 0
        return tokens


class Accounts:
    """The accounts of all clients seen of late."""

    def __init__(self, settings: Settings, clock: Clock = time.monotonic):
        self._settings, self._clock = settings, clock
        self._known: dict[str, Account] = {}

    def of(self, client: str) -> Account:
        account = self._known.pop(client, None) or Account(self._settings, self._clock)
        self._known[client] = account  # last: seen most recently
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]
        return account


def network(address: str) -> str:
    """Whom an address stands for: itself, or for IPv6 its /64, of which one client has all (RFC 6177, section 2)."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else address
