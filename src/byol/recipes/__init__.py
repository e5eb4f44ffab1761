"""Recipes by name: each a function that returns a `Recipe`. Imports no torch."""

from byol.errors import ConfigError, nearest
from byol.recipes import cifar, imagenet, imagenette, sample, satellite, scan, simclr, simsiam, small, stl10, tonight
from byol.recipes.recipe import Recipe

RECIPES = {
    "imagenet-40": imagenet.epochs_40,
    "imagenet-100": imagenet.epochs_100,
    "imagenet-300": imagenet.epochs_300,
    "imagenet-1000": imagenet.epochs_1000,
    "imagenet-1000-batch-512": imagenet.epochs_1000_batch_512,
    "imagenette": imagenette.imagenette,
    "cifar10": cifar.cifar10,
    "stl10": stl10.stl10,
    "simclr-imagenet": simclr.simclr_imagenet,
    "simclr-cifar10": simclr.simclr_cifar10,
    "simsiam-imagenet": simsiam.simsiam_imagenet,
    "simsiam-cifar10": simsiam.simsiam_cifar10,
    "sample": sample.sample,
    "small": small.small,
    "scan": scan.scan,
    "satellite": satellite.satellite,
    "tonight": tonight.tonight,
}


def recipe(name: str) -> Recipe:
    """The recipe `name`. Raises ConfigError with the nearest name if there is none."""
    if name not in RECIPES:
        raise ConfigError(f"There is no recipe {name!r}; there are {', '.join(RECIPES)}.{nearest(name, RECIPES)}")
    return RECIPES[name]()
