"""The views of a training from its config."""

import dataclasses

from byol.config import Config
from byol.runtime.view_roles import Roles
from byol.views.asymmetric import Asymmetry, asymmetric
from byol.views.views import View, Views, pair


def plain_views(config: Config, *, fused: bool = False) -> Views:
    """Views T and T' of a resolved config, without its asymmetry. `fused`: use the compiled operator where it applies."""
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
    """The config of each stage of a training with growing views (`views.growth`): its view size, and no growth."""

    def shrunk(side: int, scale: float) -> int:
        return max(8, round(scale * side))

    stages = []
    for scale in (*config.views.growth, 1.0):
        views = dataclasses.replace(config.views, size=shrunk(config.views.size, scale), growth=())
        asymmetry = dataclasses.replace(config.asymmetry, small_size=shrunk(config.asymmetry.small_size, scale))
        stages.append(dataclasses.replace(config, views=views, asymmetry=asymmetry))
    return stages


def build_views(config: Config, *, fused: bool = False) -> Views:
    """The views that a resolved config trains on."""
    a, v = config.asymmetry, config.views
    sides = (a.scale_mix, a.weak_augmentation, a.mean_encoding, a.strong_augmentation)
    asymmetry = Asymmetry(a.small_crops, a.small_size, a.small_area, *sides)
    return _views(config, asymmetric(v.view1, v.view2, v.size, asymmetry), fused)
