"""A Faster R-CNN on the encoder of `byol export RUN --to torchvision`, trained for some steps on drawn boxes.

    byol export runs/photos --to torchvision --out exports/torchvision
    python examples/detector.py exports/torchvision --model resnet50

`--model` is the encoder's name; replace `drawn` by your images and boxes.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone


def detector(folder: Path, model: str) -> FasterRCNN:
    """A detector of one kind of object. Exits unless every tensor of the encoder is in it."""
    backbone = resnet_fpn_backbone(backbone_name=model, weights=None, trainable_layers=5)
    tensors = load_file(folder / "model.safetensors")
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    missing, unknown = backbone.body.load_state_dict(tensors, strict=False)
    print(f"{len(tensors) - len(unknown)} of {len(tensors)} tensors of the encoder matched, {len(missing)} missing")
    if missing or unknown:
        raise SystemExit(f"{folder} does not hold torchvision's {model}: {(missing + unknown)[0]} does not match")
    return FasterRCNN(backbone, num_classes=2, min_size=128, max_size=256)


def drawn(count: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """`count` grey images with a white box each, and the boxes."""
    images, targets = torch.full((count, 3, 128, 160), 0.4), []
    for image in images:
        left, top, width, height = (torch.rand(4) * 50 + torch.tensor([5, 5, 30, 30])).long().tolist()
        image[:, top : top + height, left : left + width] = 1
        box = torch.tensor([[left, top, left + width, top + height]], dtype=torch.float32)
        targets.append({"boxes": box, "labels": torch.ones(1, dtype=torch.int64)})
    return list(images), targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    network = detector(options.folder, options.model).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.005, momentum=0.9, weight_decay=1e-4)
    for step in range(options.steps):
        loss = torch.stack(list(network(*drawn(4)).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step + 1}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
