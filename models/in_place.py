"""Lightning's trainer on a model that is already where it computes, and stays there."""

from lightning.pytorch.strategies import SingleDeviceStrategy


class InPlace(SingleDeviceStrategy):
    """Moves nothing, neither at the start nor at the end of an attempt.

    Moved to the CPU and back between two attempts, as Lightning would, sharded weights whose FSDP module is no part of
    Lightning's would be left behind: FSDP would go on with those from before.
    """

    def model_to_device(self) -> None:
        """Lightning's hook."""

    def teardown(self) -> None:
        """Lightning's hook, but for the moves."""
        self.precision_plugin.teardown()
        self.accelerator.teardown()
        self.checkpoint_io.teardown()
