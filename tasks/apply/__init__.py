"""The apply stage: the released model in use, as a chat and as an agent with tools, over HTTP."""

from tasks.apply.stage import ApplyConfig, apply

__all__ = ["ApplyConfig", "apply"]
