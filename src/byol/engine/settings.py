"""Settings of the training loop."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoopSettings:
    """Intervals and options of the training loop; an interval of 0 turns its action off, where 0 is the default."""

    num_micro_batches: int
    log_interval_steps: int
    collapse_interval_steps: int
    checkpoint_interval_seconds: float
    keep_checkpoints: int = 2
    milestone_steps: int = 0
    seed: int = 0
    """Seed for random layers of the encoder, combined with step and rank."""
    probe_steps: int = 0
    skip_non_finite: bool = False
    stop_on_collapse: bool = False
    threads: int = 0
    """Number of CPU threads; 0: chosen by the speed."""
