"""The bundled Fashion-MNIST sample in a few minutes on two CPU cores: what `byol demo` runs.

    byol demo

Its settings were chosen by the search recorded in docs/results.md, on a split of the training images.
"""

from byol.config import (
    Config,
    EncoderConfig,
    HeadsConfig,
    MethodConfig,
    OptimizerConfig,
    ViewConfig,
    ViewsConfig,
)
from byol.recipes.recipe import Recipe

MEASURED = (
    "test kNN 85.2, linear 88.5, 10 labels per class 76.1 (3 seeds; raw pixels 81.9, 85.1, 71.6; docs/results.md)"
)


def sample() -> Recipe:
    """ResNet-10 of width 32, views of 56 px from images of 28, batch 64, SGD.

    Differs from the paper: SGD in place of LARS, small encoder and heads, a projector of one layer (linear), crops from
    25 % of the area.
    """
    config = Config(
        epochs=16,
        batch_size=64,
        encoder=EncoderConfig(name="resnet10", width=0.5, stem="imagenet"),
        heads=HeadsConfig(projector_depth=1, projector_hidden=1024, projector_output=128, predictor_hidden=1024),
        method=MethodConfig(tau_base=0.98),
        optimizer=OptimizerConfig(name="sgd", base_learning_rate=0.6, weight_decay=1e-4, warmup_epochs=1),
        views=ViewsConfig(
            size=56,
            view1=ViewConfig(crop_area=(0.25, 1.0)),
            view2=ViewConfig(crop_area=(0.25, 1.0), blur_probability=0.1, solarize_probability=0.2),
        ),
    )
    return Recipe(config, "our own search", "none", MEASURED)
