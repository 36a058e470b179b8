"""A served model that follows its name: when the registry's alias moves, the server changes over."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from tasks.files import mark_used

log = logging.getLogger("fullchain.serve")

LONGEST_PAUSE = 256  # looks between two tries of a model that was refused; about an hour by default


def follow(replace: Callable[[Path], None], current: Path, find: Callable[[], Path], every_s: float) -> threading.Event:
    """Look every so often where `find` says that the model is, and `replace` the one served when it has moved.

    What cannot be found or loaded is logged, and the former goes on being served; it is tried again after 1, 2, 4 ...
    looks, and another one at once. At each look the one served is marked as used. Setting the event ends it.
    """
    ended = threading.Event()

    def watch() -> None:
        served = wanted = current
        unmarked: Path | None = None  # the one of which it was said
        settled, pause, left = True, 1, 0
        while not ended.wait(every_s):
            if not mark_used(served) and unmarked != served:
                unmarked = served
                log.warning(
                    "%s cannot be marked as used: `fullchain gc` may take it for unneeded, if a fetched copy", served
                )
            try:
                found = find()
                left -= 1
                if found == wanted and (settled or left > 0):
                    continue
                pause = 1 if found != wanted else min(2 * pause, LONGEST_PAUSE)
                wanted, settled, left = found, False, pause  # also back to `served`: some replicas may have another
                log.info("the model moved: loading %s", found)
                replace(found)
                served, settled = found, True
                log.info("serving %s", found)
            except Exception:  # a registry that is away, a model that is broken: the old one is still good
                log.exception("the model could not be replaced; serving the former, %s", served)

    threading.Thread(target=watch, name="reload", daemon=True).start()
    return ended
