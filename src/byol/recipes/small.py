"""A few thousand images of one's own on one machine: ResNet-18; view size and stem are set from the images.

    byol pretrain --data photos/
    byol pretrain --data photos/ --minutes 20

There is no published number: the settings follow small-batch practice. Without `--epochs` the training is planned for the
given minutes, else for an hour at most; it is contrastive and smaller if BYOL would have too little time (SIZES); docs/trials.md has our measurements of both.
"""

import dataclasses

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
from byol.recipes.sizes import SIZES

MEASURED = (
    "20 minutes of --minutes 20 on two cores: 5,000 photos of Imagenette kNN 75.0, linear 76.2, 3,667 of flowers 81.3, 84.5 "
    "(a held-out fifth, 1 seed); 5,000 CIFAR-10 images, 20 passes of the smallest size of --minutes: kNN 52.0, linear 56.3 on the test "
    "images; 2,000 images, 50 passes: 50.3, 54.1; 10 passes on from ImageNet weights (EfficientNet-Lite0) at a tenth of the rate: 5,000 images linear "
    "66.2 to 72.7, 2,000 63.2 to 65.4 (3 seeds; docs/results.md)"
)
WITH_WEIGHTS = {"encoder.norm": "frozen", "optimizer.encoder_rate": 0.03, "batch_size": 128}
"""Changes with which ImageNet weights gained 0.2 to 1.7 points of accuracy on three data sets in three passes, and lost less of their rank than
at a tenth of the rate. With moving averages they lost up to 20 points, with heads as slow as the encoder up to 7 (docs/trials.md)."""
RESULTS = (
    (15_000, "kNN 43, linear 55 on 5,000 photos of Imagenette; hand-made features (hog) have 50 and 56"),
    (150_000, "kNN 67, linear 74 on 2,000 photos of Imagenette; hand-made features (hog) have 47 and 55"),
    (440_000, "kNN 75, linear 76 on 5,000 photos of Imagenette; hand-made features (hog) have 50 and 56"),
)
"""Results of 20-minute trainings beside many, some and no busy processes, by number of images trained on (docs/results.md)."""


def small() -> Recipe:
    """SGD, batch 256 or less, tau 0.99, heads 1024/256, antialiased crops from 20 % of the area.

    Differs from the paper: SGD in place of LARS (made for large batches), smaller heads, larger crops, antialiased
    resizing, without which large photographs alias when a crop is shrunk, and large photos shrunk once (views.stored_side). If a plan by time leaves too
    little for BYOL it uses another method (recipes/sizes.py); the encoder takes larger views than the training (views.encoded_size). From weights trained elsewhere (`byol import-timm`, encoder.pretrained) it keeps
    batch norm's averages and gives the encoder a thirtieth of the rate (WITH_WEIGHTS).
    """
    config = Config(
        epochs=200,
        batch_size=256,
        encoder=EncoderConfig(name="resnet18"),
        heads=HeadsConfig(projector_hidden=1024, projector_output=256, predictor_hidden=1024),
        method=MethodConfig(tau_base=0.99),
        optimizer=OptimizerConfig(name="sgd", base_learning_rate=0.3, weight_decay=1e-4, warmup_epochs=5),
        views=ViewsConfig(
            size=0,
            encoded_size=-1,
            antialias=True,
            stored_side=-1,
            view1=ViewConfig(crop_area=(0.2, 1.0), blur_probability=0.5),
            view2=ViewConfig(crop_area=(0.2, 1.0), blur_probability=0.1, solarize_probability=0.2),
        ),
    )
    return Recipe(
        config,
        "small-batch practice of SimSiam and lightly, no single source",
        "none published",
        MEASURED,
        adapts_batch=True,
        with_weights=WITH_WEIGHTS,
        sizes=SIZES,
        results=RESULTS,
    )


def small_with(view: ViewConfig, measured: str = "not measured by us") -> Recipe:
    """The recipe with other views: T is `view`, T' is `view` with blur at 0.1. `measured`: results of these."""
    base = small()
    views = dataclasses.replace(base.config.views, view1=view, view2=dataclasses.replace(view, blur_probability=0.1))
    return dataclasses.replace(
        base,
        config=dataclasses.replace(base.config, views=views),
        source="the recipe small, with views that are not studied",
        measured=measured,
        results=(),
    )
