"""What an encoder is worth with other batch-norm averages and the same weights, on a split of the training images.

    python tools/batch_norm_averages.py lite0 --data cifar10/train --images 5000

Three rows as in tools/search.py (whose split it is): as it is; with averages over the images as the encoder sees them in
evaluation; and over 40 batches of the training views of the recipe `small`. Nothing is trained.
"""

import argparse
import json

import numpy as np
import torch
from torch import nn

from byol.assembly.settings import Asked, resolve
from byol.assembly.subject import open_subject
from byol.assembly.views import plain_views
from byol.config import replaced
from byol.data.open import open_source
from byol.data.profile import profile
from byol.data.source import SkippedImages
from byol.data.subset import Subset, held_out, share_of_each
from byol.evaluate.probes import probe_correct
from byol.recipes import recipe

BATCHES, BATCH = 40, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="a run or an encoder's folder")
    parser.add_argument("--data", default="sample")
    parser.add_argument("--images", type=int, default=5000)
    chosen = parser.parse_args()
    images = open_source(chosen.data, labelled=True)
    assert images.labels is not None
    kept, out = held_out(images.labels, 0.1, seed=0)
    kept = kept[share_of_each(images.labels[kept], min(1, chosen.images / len(kept)), seed=0)]
    train, validation = Subset(images, kept, "train part"), Subset(images, out, "validation part")
    seen = profile(train, SkippedImages())
    pixels = torch.from_numpy(np.stack([train.read(i, seen.channels) for i in range(len(train))])).permute(0, 3, 1, 2)
    size = open_subject(chosen.encoder, train).encoder.description.image_size
    config = replaced(recipe("small").config, {"views.size": size, "batch_size": BATCH})
    config = resolve(Asked(config, recipe("small")), seen, len(train)).config
    views = plain_views(config)
    for row in ("as it is", "images", "views"):
        encoder = open_subject(chosen.encoder, train).encoder
        order = np.random.default_rng(0)
        if row != "as it is":
            for part in encoder.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.reset_running_stats()
                    part.momentum = None  # the mean over all batches
                    part.train()
        for step in range(0 if row == "as it is" else BATCHES):
            batch = pixels[order.integers(0, len(pixels), BATCH)]
            for view in views(batch, step) if row == "views" else ():
                encoder.encode_views(view)
            if row == "images":
                encoder(batch)
        encoder.eval()
        found = probe_correct(encoder, train, validation, seen.channels, torch.device("cpu"))
        print(
            row, json.dumps({probe: round(100 * float(right.mean()), 1) for probe, right in found.items()}), flush=True
        )


if __name__ == "__main__":
    main()
