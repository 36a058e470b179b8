"""Worker processes on this machine."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Make this worker end when the process that started it is gone, however it went."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
