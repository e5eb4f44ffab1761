"""DeepMind's Imagenette recipe: ResNet-18, 128 px, batch 256, 1000 epochs.

    byol pretrain --data imagenette --download --recipe imagenette

Expected: about 92.3 % by an online linear classifier, 4 hours on one V100 (DeepMind's README). Not measured by us.
"""

from byol.config import Config, EncoderConfig, MethodConfig, OptimizerConfig, ViewsConfig
from byol.recipes.recipe import Recipe


def imagenette() -> Recipe:
    """Base rate 2.0, decay 1e-6, tau 0.996; the other numbers as in the 1000-epoch preset."""
    config = Config(
        epochs=1000,
        batch_size=256,
        encoder=EncoderConfig(name="resnet18", stem="imagenet"),
        method=MethodConfig(tau_base=0.996),
        optimizer=OptimizerConfig(base_learning_rate=2.0, weight_decay=1e-6, warmup_epochs=10),
        views=ViewsConfig(size=128),
    )
    return Recipe(
        config,
        "README of DeepMind's byol",
        "about 92.3 online linear (DeepMind's README)",
        "not measured by us",
    )
