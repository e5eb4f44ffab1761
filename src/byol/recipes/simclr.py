"""SimCLR (Chen et al. 2020), on ImageNet as published and on CIFAR-10 with a ResNet-18.

    byol pretrain --data imagenet --recipe simclr-imagenet
    byol pretrain --data cifar10 --download --recipe simclr-cifar10

Expected: ImageNet linear 64.5 after 100 epochs at batch 4096, 69.3 after 1000. None of these runs was repeated here.
"""

from byol.config import Config, EncoderConfig, HeadsConfig, MethodConfig, OptimizerConfig, ViewConfig, ViewsConfig
from byol.recipes.recipe import Recipe


def simclr_imagenet() -> Recipe:
    """100 epochs of ResNet-50 at batch 4096: LARS, base rate 0.3, temperature 0.1, colour of strength 1."""
    view = ViewConfig(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, blur_probability=0.5)
    config = Config(
        epochs=100,
        batch_size=4096,
        heads=HeadsConfig(projector_hidden=2048, projector_output=128, projector_output_norm=True),
        method=MethodConfig(name="simclr", temperature=0.1),
        optimizer=OptimizerConfig(base_learning_rate=0.3, weight_decay=1e-6, warmup_epochs=10),
        views=ViewsConfig(semantics="torchvision", view1=view, view2=view),
    )
    return Recipe(
        config,
        "SimCLR section 2 and appendix A; the projector's hidden width is that of its ResNet-50",
        "ImageNet linear 64.5 (100 epochs), 69.3 (1000) (SimCLR appendix B.1, table 6)",
        "not measured by us",
    )


def simclr_cifar10() -> Recipe:
    """1000 epochs of ResNet-18 with a small stem at batch 512: temperature 0.5, colour of strength 0.5, no blur."""
    view = ViewConfig(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur_probability=0.0)
    config = Config(
        epochs=1000,
        batch_size=512,
        encoder=EncoderConfig(name="resnet18", stem="small"),
        heads=HeadsConfig(projector_hidden=512, projector_output=128, projector_output_norm=True),
        method=MethodConfig(name="simclr", temperature=0.5),
        optimizer=OptimizerConfig(base_learning_rate=1.0, weight_decay=1e-6, warmup_epochs=10),
        views=ViewsConfig(size=32, semantics="torchvision", view1=view, view2=view),
    )
    return Recipe(
        config,
        "SimCLR appendix B.9, with ResNet-18 in place of its ResNet-50",
        "CIFAR-10 linear 91.1 (SimSiam appendix D, ResNet-18, 800 epochs)",
        "not measured by us",
    )
