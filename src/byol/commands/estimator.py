"""BYOL as a scikit-learn transformer, from images to feature vectors."""

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from byol.commands.pretrain import pretrain
from byol.data.open import as_source, open_source
from byol.data.prepare_photos import shrink_photos
from byol.data.source import ImageSource, SkippedImages
from byol.data.spec import NO_DATA, DataSpec, as_spec
from byol.errors import ConfigError, DataError
from byol.evaluate.features import extract
from byol.runtime.hardware import choose_device
from byol.runtime.listener import SILENT


class Estimator(TransformerMixin, BaseEstimator):
    """A scikit-learn transformer: `fit` pretrains an encoder without labels, `transform` gives feature vectors.

    Images are given as for `byol.pretrain`: a folder or any other data by name, (N, H, W[, C]) uint8, an (N, C, H, W)
    uint8 tensor, a torch data set, or a list of images or files. Parameters: `recipe` (its name), `epochs` (None: planned as
    by `byol.pretrain`), `settings` ({"optimizer.name": "sgd"}), `out` (run directory; None: the next free one in runs/), `device`,
    `verbose`, `layout` (NHW, NHWC or NCHW, if type and shape leave the order of the axes open).

    Attributes after `fit`: `run_` (byol.Run) and `encoder_` (as from byol.load). Ctrl-C stops the fit and keeps the encoder
    learned so far; then `run_.finished` is False, and `byol.resume(run_.path)` continues.
    """

    run_: Any
    encoder_: Any

    def __init__(
        self,
        recipe: str = "small",
        *,
        epochs: float | None = None,
        settings: dict[str, Any] | None = None,
        out: str | Path | None = None,
        device: str = "auto",
        verbose: bool = True,
        layout: str = "",
    ) -> None:
        self.recipe = recipe
        self.epochs = epochs
        self.settings = settings
        self.out = out
        self.device = device
        self.verbose = verbose
        self.layout = layout

    def fit(self, X: Any, y: Any = None) -> "Estimator":  # noqa: N803
        """Pretrains on the images and ignores `y`. Raises ByolError as `byol.pretrain` does."""
        given = {} if self.epochs is None else {"epochs": self.epochs}
        settings = {**(self.settings or {}), **given}
        if "device" in settings:
            raise ConfigError("Give the device as Estimator(device=...), not among the settings.")
        say = print if self.verbose else SILENT.say
        overrides = {**settings, "device": self.device}
        self.run_ = pretrain(X, self.recipe, out=self.out, overrides=overrides, layout=self.layout, say=say)
        self.encoder_ = self.run_.encoder()
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """(N, D) feature vectors of the images, in the same order. Raises DataError if an image cannot be read."""
        check_is_fitted(self, "encoder_")
        source, skipped = _source(X, self.layout), SkippedImages()
        device = choose_device(self.device)
        encoder = self.encoder_.to(device)
        about = encoder.description
        photos = shrink_photos(source, about.in_channels, about.stored_side, as_spec(X) if _is_named(X) else NO_DATA)
        features = extract(encoder, photos, about.in_channels, device, skipped=skipped)
        if skipped.reasons:
            name, reason = skipped.reasons[0]
            raise DataError(
                f"{len(skipped)} of {len(source)} images cannot be read, first {name} ({reason}), so the rows would not match "
                f"the images. Remove these images, or use byol.embed, which writes a name with each row."
            )
        return features.vectors.numpy()

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the features: byol0, byol1, ..."""
        check_is_fitted(self, "encoder_")
        return np.array([f"byol{number}" for number in range(self.encoder_.num_features)], dtype=object)


def _is_named(images: Any) -> TypeGuard[str | Path | DataSpec]:
    return isinstance(images, str | Path | DataSpec)


def _source(images: Any, layout: str) -> ImageSource:
    if _is_named(images):
        return open_source(replace(as_spec(images), layout=layout), labelled=True)
    return as_source(images, layout)
