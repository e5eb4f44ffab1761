"""SimSiam (Chen and He 2020): a predictor and a stop-gradient, no moving average, no negatives.

    byol pretrain --data imagenet --recipe simsiam-imagenet
    byol pretrain --data cifar10 --download --recipe simsiam-cifar10

Expected: ImageNet linear 67.7 after 100 epochs; CIFAR-10 91.8 after 800. None of these runs was repeated here.
"""

from byol.config import Config, EncoderConfig, HeadsConfig, MethodConfig, OptimizerConfig, ViewConfig, ViewsConfig
from byol.recipes.recipe import Recipe


def simsiam_imagenet() -> Recipe:
    """100 epochs of ResNet-50 at batch 512: SGD, base rate 0.05, decay of everything, heads of width 2048.

    The output layer of the predictor has no bias here, and its rate falls like the others' (67.7 in the paper).
    """
    view = ViewConfig(crop_area=(0.2, 1.0), saturation=0.4, blur_probability=0.5)
    config = Config(
        epochs=100,
        batch_size=512,
        encoder=EncoderConfig(name="resnet50", zero_init_residual=True),
        heads=HeadsConfig(
            projector_hidden=2048,
            projector_output=2048,
            projector_depth=3,
            projector_output_norm=True,
            predictor_hidden=512,
        ),
        method=MethodConfig(name="simsiam"),
        optimizer=OptimizerConfig(
            name="sgd", base_learning_rate=0.05, weight_decay=1e-4, decay_all=True, warmup_epochs=0
        ),
        views=ViewsConfig(semantics="torchvision", view1=view, view2=view),
    )
    return Recipe(
        config,
        "SimSiam section 4, appendix A",
        "ImageNet linear 67.7 (SimSiam table 1)",
        "not measured by us",
    )


def simsiam_cifar10() -> Recipe:
    """800 epochs of ResNet-18 with a small stem at batch 512: base rate 0.03, decay 5e-4, a projector of two layers."""
    view = ViewConfig(crop_area=(0.2, 1.0), saturation=0.4, blur_probability=0.0)
    config = Config(
        epochs=800,
        batch_size=512,
        encoder=EncoderConfig(name="resnet18", stem="small"),
        heads=HeadsConfig(
            projector_hidden=2048, projector_output=2048, projector_output_norm=True, predictor_hidden=512
        ),
        method=MethodConfig(name="simsiam"),
        optimizer=OptimizerConfig(
            name="sgd", base_learning_rate=0.03, weight_decay=5e-4, decay_all=True, warmup_epochs=0
        ),
        views=ViewsConfig(size=32, semantics="torchvision", view1=view, view2=view),
    )
    return Recipe(
        config,
        "SimSiam appendix D",
        "CIFAR-10 linear 91.8 (SimSiam appendix D)",
        "not measured by us",
    )
