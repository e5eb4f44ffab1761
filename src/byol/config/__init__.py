"""The config of a training. This package imports no torch, so that the command line prints its help quickly."""

from byol.config.config import (
    RUN_SETTINGS,
    AsymmetryConfig,
    Config,
    EncoderConfig,
    HeadsConfig,
    MethodConfig,
    Norm,
    OptimizerConfig,
    PredictorKind,
    Side,
    ViewConfig,
    ViewsConfig,
)
from byol.config.limits import validate
from byol.config.settings import (
    as_options,
    changed_settings,
    differences,
    dotted_names,
    from_dict,
    pick,
    replaced,
    settings_on_command_line,
    to_dict,
)

__all__ = [
    "RUN_SETTINGS",
    "AsymmetryConfig",
    "Config",
    "EncoderConfig",
    "HeadsConfig",
    "MethodConfig",
    "Norm",
    "OptimizerConfig",
    "PredictorKind",
    "Side",
    "ViewConfig",
    "ViewsConfig",
    "as_options",
    "changed_settings",
    "differences",
    "dotted_names",
    "from_dict",
    "pick",
    "replaced",
    "settings_on_command_line",
    "to_dict",
    "validate",
]
