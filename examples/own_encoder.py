"""An encoder and a data set of one's own: any torch module, any torch data set.

    python examples/own_encoder.py --epochs 20

The module takes (N, C, S, S) float images and gives (N, D); the data set gives images, or tuples that begin with one.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import byol


class Rings(Dataset[Tensor]):
    """Drawn as they are asked for: (1, 40, 40) uint8, a ring of another size and place in each."""

    def __len__(self) -> int:
        return 512

    def __getitem__(self, index: int) -> Tensor:
        generator = torch.Generator().manual_seed(index)
        x, y, radius = torch.rand(3, generator=generator) * torch.tensor([20, 20, 8]) + torch.tensor([10, 10, 2])
        row, column = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
        distance = ((row - y) ** 2 + (column - x) ** 2).sqrt() - radius
        return (255 * torch.exp(-(distance**2) / 4)).to(torch.uint8)[None]


def encoder() -> nn.Module:
    """Three convolutions, 64 features."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def main() -> None:
    """Trains, and loads the encoder again as another program would."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/rings"))
    parser.add_argument("--epochs", type=float, default=20)
    options = parser.parse_args()
    byol.pretrain(Rings(), encoder=encoder(), out=options.out, epochs=options.epochs)
    loaded = byol.load(options.out, encoder())  # the shape is yours, the weights are the run's
    images = torch.stack([Rings()[index] for index in range(8)])
    print("vectors of", tuple(images.shape), "images:", tuple(loaded(images).shape))


if __name__ == "__main__":
    main()
