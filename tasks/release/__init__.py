"""Release: the gate between a model that was made and a model that is used."""

from tasks.release.stage import ReleaseConfig, release

__all__ = ["ReleaseConfig", "release"]
