"""BYOL, Bootstrap Your Own Latent: train an image encoder on a folder of images without labels.

    import byol

    run = byol.pretrain("photos/", epochs=50, out="runs/photos")
    encoder = byol.load("runs/photos")
    vectors = encoder(images)          # (N, C, H, W) uint8 -> (N, D)

These parts can be used on their own: byol.views, byol.nets, byol.methods, byol.optim.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from byol.runtime.version import VERSION

__version__ = VERSION

_LAZY = {
    "adapt": ("byol.commands.adapt", "adapt"),
    "audit": ("byol.commands.audit", "audit"),
    "pretrain": ("byol.commands.pretrain", "pretrain"),
    "resume": ("byol.commands.resume", "resume"),
    "Run": ("byol.training.run", "Run"),
    "evaluate_encoder": ("byol.commands.evaluate", "evaluate"),
    "diagnose": ("byol.commands.diagnose", "diagnose"),
    "embed": ("byol.commands.embed", "embed"),
    "embed_maps": ("byol.commands.maps", "embed_maps"),
    "fit_classifier": ("byol.commands.fit_classifier", "fit_classifier"),
    "classify": ("byol.commands.classify", "classify"),
    "load_classifier": ("byol.encoder.classifier", "load_classifier"),
    "export_encoder": ("byol.commands.export", "export_encoder"),
    "import_deepmind": ("byol.imports.import_deepmind", "import_deepmind"),
    "import_timm": ("byol.imports.import_timm", "import_timm"),
    "load": ("byol.encoder.encoder_file", "load_encoder"),
    "select": ("byol.commands.select", "select"),
    "write_report": ("byol.report.write", "write_report"),
    "DataSpec": ("byol.data.spec", "DataSpec"),
    "ByolError": ("byol.errors", "ByolError"),
    "Estimator": ("byol.commands.estimator", "Estimator"),
}

__all__ = [
    "ByolError",
    "DataSpec",
    "Estimator",
    "Run",
    "__version__",
    "adapt",
    "audit",
    "classify",
    "diagnose",
    "embed",
    "embed_maps",
    "evaluate_encoder",
    "export_encoder",
    "fit_classifier",
    "import_deepmind",
    "import_timm",
    "load",
    "load_classifier",
    "pretrain",
    "resume",
    "select",
    "write_report",
]

if TYPE_CHECKING:
    from byol.commands.adapt import adapt
    from byol.commands.audit import audit
    from byol.commands.classify import classify
    from byol.commands.diagnose import diagnose
    from byol.commands.embed import embed
    from byol.commands.estimator import Estimator
    from byol.commands.evaluate import evaluate as evaluate_encoder
    from byol.commands.export import export_encoder
    from byol.commands.fit_classifier import fit_classifier
    from byol.commands.maps import embed_maps
    from byol.commands.pretrain import pretrain
    from byol.commands.resume import resume
    from byol.commands.select import select
    from byol.data.spec import DataSpec
    from byol.encoder.classifier import load_classifier
    from byol.encoder.encoder_file import load_encoder as load
    from byol.errors import ByolError
    from byol.imports.import_deepmind import import_deepmind
    from byol.imports.import_timm import import_timm
    from byol.report.write import write_report
    from byol.training.run import Run


def __getattr__(name: str) -> Any:
    """Imports public names and submodules on first use, so that `import byol` is quick and loads no torch."""
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(import_module(module), attribute)
    try:
        return import_module(f"byol.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"byol.{name}":
            raise
        raise AttributeError(f"module 'byol' has no attribute {name!r}") from None
