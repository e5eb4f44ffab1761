"""Settings of the training loop."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoopSettings:
    """How often the loop does what."""

    num_micro_batches: int
    log_interval_steps: int
    collapse_interval_steps: int
    checkpoint_interval_seconds: float
    keep_checkpoints: int = 2
    milestone_steps: int = 0
    seed: int = 0
    """With the step and the rank, of what an encoder draws at random."""
    probe_steps: int = 0
    skip_non_finite: bool = False
    stop_on_collapse: bool = False
