"""Telling people what happens to a long run: in its log, in `logs/events.jsonl`, and through apprise if they asked."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tasks.output import Output

if TYPE_CHECKING:
    from models.rollback import Diverged

ADDRESSES = "FULLCHAIN_ALERT_URLS"
"""Where alerts go: apprise URLs, separated by blanks (Slack, Feishu, mail and a hundred more). They hold secrets, so
they come from the environment, never from a config that is tracked and shown."""


class Notices:
    """What a training run has to say about itself beside its curve; one process of many speaks aloud."""

    def __init__(self, out: Output, steps: int, aloud: bool = True) -> None:
        self.out, self.steps, self.aloud = out, steps, aloud

    def rolled_back(self, event: dict[str, Any]) -> None:
        """The guard went back to a checkpoint."""
        self._say(
            "rollback",
            f"step {event['step']} of {self.steps}: {event['measure']} {event['value']} (at most {event['limit']} is "
            f"normal); rolled back, going on without the data of steps {event['skipped_data_steps']}",
        )

    def diverged(self, problem: Diverged) -> str:
        """The guard gave up; what to do about it."""
        anomaly = problem.anomaly
        text = (
            f"optimizer: {anomaly.measure} is {anomaly.value} at step {anomaly.step} of {self.steps}, after "
            f"{problem.rollbacks} rollbacks; at most {anomaly.limit} is normal; the last checkpoint is of step "
            f"{problem.checkpoint}; lower optimizer.lr and optimizer.matrix_lr, lengthen optimizer.warmup, or raise "
            "guard.rollbacks"
        )
        self._say("diverged", text)
        return text

    def stalled(self, seconds: float) -> None:
        """No step has ended for a long time."""
        self._say(
            "stall", f"no step for {seconds:.0f} s; the stacks of all threads are in {self.out.logs / 'stall.txt'}"
        )

    def stopped(self, step: int) -> None:
        """SIGTERM came."""
        self._say("stopped", f"SIGTERM at step {step} of {self.steps}: saved; run again to go on from there")

    def _say(self, kind: str, text: str) -> None:
        self.out.log.warning("%s", text)
        record = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "kind": kind, "text": text}
        with (self.out.logs / "events.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        failed = send(f"Fullchain: {kind}", text) if self.aloud else 0
        if failed:
            self.out.log.warning("%d of the addresses in %s did not take the alert", failed, ADDRESSES)


def send(title: str, text: str) -> int:
    """Send an alert to every address in the environment; how many could not be reached or are none. Logs no address."""
    addresses = os.environ.get(ADDRESSES, "").split()
    if not addresses:
        return 0
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it would name addresses, which hold secrets
    failed = 0
    for address in addresses:
        channel = apprise.Apprise()
        failed += not (channel.add(address) and channel.notify(body=text, title=title))
    return failed
