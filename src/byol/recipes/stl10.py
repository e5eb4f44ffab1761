"""STL-10: ResNet-18, 96 px, the 100,000 unlabelled images, batch 256.

    byol pretrain --data stl10 --download --recipe stl10

Expected: 57.7 % after 10 epochs, about 81 % after 320 (Imbue's post, their linear probe). Not measured by us.
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


def stl10() -> Recipe:
    """SGD at 0.8, tau 0.996, heads 512/128.

    Differs from the paper: SGD in place of LARS, small heads, crops from 20 % of the area, jitter 0.4/0.4/0.4/0.1
    and blur 0.5 in both views, no solarize.
    """
    view = ViewConfig(crop_area=(0.2, 1.0), saturation=0.4, blur_probability=0.5)
    config = Config(
        epochs=320,
        batch_size=256,
        encoder=EncoderConfig(name="resnet18", stem="imagenet"),
        heads=HeadsConfig(projector_hidden=512, projector_output=128, predictor_hidden=512),
        method=MethodConfig(tau_base=0.996),
        optimizer=OptimizerConfig(name="sgd", base_learning_rate=0.8, weight_decay=1e-4, warmup_epochs=0),
        views=ViewsConfig(size=96, view1=view, view2=view),
    )
    return Recipe(
        config,
        "Imbue's post and code",
        "57.7 at 10 epochs, about 81 at 320 (their figure)",
        "not measured by us",
    )
