"""Views of a training, from its config."""

import dataclasses

from byol.config import Config
from byol.runtime.view_roles import Roles
from byol.views.asymmetric import Asymmetry, asymmetric
from byol.views.views import View, Views, pair


def plain_views(config: Config, *, fused: bool = False) -> Views:
    """T and T' of a resolved config, whatever its asymmetry; `fused` by the compiled operator where it fits."""
    return _views(config, pair(config.views.view1, config.views.view2, config.views.size), fused)


def _views(config: Config, roles: Roles[View], fused: bool) -> Views:
    return Views(
        roles,
        config.batch_size,
        config.seed,
        config.views.semantics,
        config.views.antialias,
        "fused" if fused else "native",
        config.channels_last,
    )


def by_view_size(config: Config) -> list[Config]:
    """A resolved config for each equal part of the training, with the size of its views, which grow in none of them."""

    def shrunk(side: int, scale: float) -> int:
        return max(8, round(scale * side))

    found = []
    for scale in (*config.views.growth, 1.0):
        views = dataclasses.replace(config.views, size=shrunk(config.views.size, scale), growth=())
        asymmetry = dataclasses.replace(config.asymmetry, small_size=shrunk(config.asymmetry.small_size, scale))
        found.append(dataclasses.replace(config, views=views, asymmetry=asymmetry))
    return found


def build_views(config: Config, *, fused: bool = False) -> Views:
    """The views that a resolved config trains on."""
    a, v = config.asymmetry, config.views
    sides = (a.scale_mix, a.weak_augmentation, a.mean_encoding, a.strong_augmentation)
    asymmetry = Asymmetry(a.small_crops, a.small_size, a.small_area, *sides)
    return _views(config, asymmetric(v.view1, v.view2, v.size, asymmetry), fused)
