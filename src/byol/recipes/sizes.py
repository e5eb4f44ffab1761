"""Sizes of a training by time: method, encoder and growth of the views by the number of images that can be trained on."""

from byol.recipes.recipe import Size

CONTRASTIVE = {
    "encoder.name": "resnet10",
    "method.name": "simclr",
    "method.temperature": 0.2,
    "heads.projector_hidden": 2048,
    "heads.projector_output": 128,
    "batch_size": 128,
    "optimizer.base_learning_rate": 0.6,
    "optimizer.weight_decay": 5e-4,
    "views.semantics": "torchvision",
    "asymmetry.small_crops": 2,
    "asymmetry.small_size": 0,
    "asymmetry.small_area": (0.1, 0.4),
}
"""SimCLR with a ResNet-10, which is ahead of BYOL early on, and two more views of half the side per image (MultiCrop)."""
SIZES = (
    Size(least_images=2_000_000),
    Size({**CONTRASTIVE, "encoder.width": 0.5}, least_images=500_000),
    Size({**CONTRASTIVE, "encoder.width": 0.25}, least_images=300_000),
    Size({**CONTRASTIVE, "encoder.width": 0.25, "views.growth": (0.5, 0.75)}, largest_view=96),
)
"""Sizes from large to small. The first threshold is a guess, the others are from CIFAR-10 (docs/trials.md)."""
