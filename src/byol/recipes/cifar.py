"""CIFAR-10: ResNet-18 with a small-image stem, 32 px, batch 256, 1000 epochs.

    byol pretrain --data cifar10 --download --recipe cifar10

Expected: 92.58 % by an online linear classifier (solo-learn's table). Not measured by us in full.
"""

from byol.config import Config, EncoderConfig, MethodConfig, OptimizerConfig, ViewConfig, ViewsConfig
from byol.recipes.recipe import Recipe


def cifar10() -> Recipe:
    """LARS at base rate 1.0, tau 0.99; no blur, solarize in T' only, as in presets for small images.

    Differs from the paper: no blur (32 px images lose their content to it); weight decay 1e-5.
    """
    config = Config(
        epochs=1000,
        batch_size=256,
        encoder=EncoderConfig(name="resnet18", stem="small"),
        method=MethodConfig(tau_base=0.99),
        optimizer=OptimizerConfig(base_learning_rate=1.0, weight_decay=1e-5, warmup_epochs=10),
        views=ViewsConfig(
            size=32,
            view1=ViewConfig(blur_probability=0.0),
            view2=ViewConfig(blur_probability=0.0, solarize_probability=0.2),
        ),
    )
    return Recipe(
        config,
        "solo-learn's CIFAR-10 preset (rate, decay, tau, views), with the paper's LARS (eta 0.001, no clipping) in place of its eta 0.02 clipped",
        "92.58 online linear (solo-learn's table, with its own LARS)",
        "only short runs; see docs/results.md",
    )
