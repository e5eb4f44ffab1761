"""The paper's ImageNet recipes: ResNet-50, batch 4096, LARS.

    torchrun --nproc-per-node 8 -m byol pretrain --data imagenet --recipe imagenet-300

Hardware of the paper: 64 TPU v3 cores for 300 epochs, 512 (8 hours) for 1000. None of these runs was repeated here.
"""

from byol.config import Config, MethodConfig, OptimizerConfig
from byol.recipes.recipe import Recipe

NOT_MEASURED = "not measured by us"


def _paper(
    epochs: int, base_learning_rate: float, weight_decay: float, tau_base: float, batch_size: int = 4096
) -> Config:
    return Config(
        epochs=epochs,
        batch_size=batch_size,
        method=MethodConfig(tau_base=tau_base),
        optimizer=OptimizerConfig(base_learning_rate=base_learning_rate, weight_decay=weight_decay, warmup_epochs=10),
    )


def epochs_40() -> Recipe:
    """40 epochs: base rate 0.45, tau 0.97."""
    return Recipe(
        _paper(40, 0.45, 1e-6, 0.97),
        "DeepMind's released configs (40 epochs)",
        "none published",
        NOT_MEASURED,
    )


def epochs_100() -> Recipe:
    """100 epochs: base rate 0.45, tau 0.99. Expected: 66.5 (SimSiam Table 4, an independent reproduction)."""
    return Recipe(
        _paper(100, 0.45, 1e-6, 0.99),
        "DeepMind's released configs (100 epochs)",
        "ImageNet linear 66.5 (SimSiam Table 4)",
        NOT_MEASURED,
    )


def epochs_300() -> Recipe:
    """300 epochs: base rate 0.3, tau 0.99, the recipe of all ablations. Expected: 72.5 (BYOL section 5)."""
    return Recipe(
        _paper(300, 0.3, 1e-6, 0.99),
        "BYOL section 5, DeepMind's released configs",
        "ImageNet linear 72.5 (BYOL section 5)",
        NOT_MEASURED,
    )


def epochs_1000() -> Recipe:
    """1000 epochs: base rate 0.2, decay 1.5e-6, tau 0.996. Expected: 74.3 (BYOL Table 1)."""
    return Recipe(
        _paper(1000, 0.2, 1.5e-6, 0.996),
        "BYOL section 3.3, DeepMind's released configs",
        "ImageNet linear 74.3 (BYOL Table 1)",
        NOT_MEASURED,
    )


def epochs_1000_batch_512() -> Recipe:
    """1000 epochs at batch 512: base rate 0.4, tau 0.9995. Expected: 73.7 (BYOL appendix G)."""
    return Recipe(
        _paper(1000, 0.4, 1.5e-6, 0.9995, 512),
        "BYOL appendix G",
        "ImageNet linear 73.7 (BYOL appendix G)",
        NOT_MEASURED,
    )
