"""A served model that follows its name: when the registry's alias moves, the server changes over."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("fullchain.serve")


def follow(replace: Callable[[Path], None], current: Path, find: Callable[[], Path], every_s: float) -> threading.Event:
    """Ask `find` for the model's directory every so often, and `replace` the one served when it has moved.

    What cannot be found or loaded is logged, and the model goes on being served. Setting the event ends it.
    """
    ended = threading.Event()

    def watch(served: Path | None) -> None:
        while not ended.wait(every_s):
            try:
                found = find()
                if found != served:
                    log.info("the model moved: loading %s", found)
                    served = None  # a change that fails may leave several: whatever the name means next is set anew
                    replace(found)
                    served = found
                    log.info("serving %s", found)
            except Exception:  # a registry that is away, a model that is broken: the old one is still good
                log.exception("the model could not be replaced; serving the former")

    threading.Thread(target=watch, args=(current,), name="reload", daemon=True).start()
    return ended
