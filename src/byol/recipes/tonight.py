"""A good encoder of small images in minutes to an hour on a CPU, for `--minutes`.

    byol pretrain --data cifar10/train.parquet --recipe tonight --minutes 15

Its settings were chosen by the trials of docs/trials.md on a split of CIFAR-10's training images. In those 15 minutes
on two CPU cores with bf16 it reached kNN 70.3 and linear 69.9 on the test images (3 seeds). With `--minutes 60`, which
uses the wider encoder, it reached kNN 74.9 and linear 75.6 (1 seed), on cores with AMX 77.2 and 77.8 (4 seeds;
docs/results.md).
"""

from byol.config import (
    AsymmetryConfig,
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
    "CIFAR-10 test on two CPU cores with bf16: kNN 70.3, linear 69.9 after 15 minutes (3 seeds), 74.9, 75.6 after 60 "
    "(1 seed), with AMX 77.2, 77.8 (4 seeds; docs/results.md)"
)


def tonight() -> Recipe:
    """SimCLR with a ResNet-10 of width 16 (see recipes/sizes.py) and a 3x3 stem on views of 32 px, batch 128, SGD, temperature 0.2.

    Differs from the paper: contrastive (NT-Xent), which was ahead of BYOL after equal time on a CPU (linear 54.0
    against 43.1 in four minutes, 62.2 against 49.6 in eight; docs/trials.md); SGD in place of LARS, a small encoder,
    crops from 25 % of the area, antialiased, no blur, large photos shrunk once (views.stored_side), and two more views of
    16 px (MultiCrop). With `--minutes` and too
    little time, views grow (recipes/sizes.py).
    """
    view = ViewConfig(crop_area=(0.25, 1.0), blur_probability=0.0)
    config = Config(
        epochs=40,
        batch_size=128,
        encoder=EncoderConfig(name="resnet10", width=0.25, stem="small"),
        heads=HeadsConfig(projector_hidden=2048, projector_output=128),
        method=MethodConfig(name="simclr", temperature=0.2),
        asymmetry=AsymmetryConfig(small_crops=2, small_size=16, small_area=(0.1, 0.4)),
        optimizer=OptimizerConfig(name="sgd", base_learning_rate=0.6, weight_decay=5e-4, warmup_epochs=1),
        views=ViewsConfig(size=32, semantics="torchvision", antialias=True, stored_side=-1, view1=view, view2=view),
    )
    return Recipe(config, "our own search", "none", MEASURED, adapts_batch=True, sizes=SIZES[1:])
