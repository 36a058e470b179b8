"""Telling people what happens to a long run: as events of its stage, and through apprise if they asked."""

from __future__ import annotations

import json
import logging
import os
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
        self._named: set[int] = set()

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

    def ranks(self, step: int, readings: list[dict[str, float]]) -> None:
        """What each of several processes read of itself; a rank that holds up the others is named once."""
        from models.stragglers import stragglers

        if len(readings) == 1:
            return
        path = self.out.logs / "ranks.jsonl"
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, "ranks": readings}) + "\n")
        gemm, waits = ([rank[name] for rank in readings] for name in ("gemm_flops", "data_wait_share"))
        for rank, why in stragglers(gemm, waits).items():
            if rank not in self._named:
                self._named.add(rank)
                self._say("straggler", f"step {step} of {self.steps}: rank {rank} {why}; all ranks are in {path}")

    def stopped(self, step: int) -> None:
        """SIGTERM came."""
        self._say("stopped", f"SIGTERM at step {step} of {self.steps}: saved; run again to go on from there")

    def _say(self, kind: str, text: str) -> None:
        self.out.event(kind, text)
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
