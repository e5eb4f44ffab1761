"""Two views of decoded images: our operators beside torchvision's transforms (v1) on PIL images, one after the other.

    python -m benchmarks.augment [--size 224] [--threads 1] [--data photos/]

The paper's T and T' in all rows, both views counted: random crop (bicubic), flip, colour, grayscale, blur (23 taps at
224 px, 3 at 32), solarize, to a float tensor. Sources are uint8 in memory, (256, 256), or as large as the views where
these are at most 96 px; decoding is not in it. `fused` is the C++ operator, `native` torch's; both take a batch, in
the rows of 16 bits the same pixels times 257 as uint16.
torchvision's colour operations are its own (multiplicative brightness, blended contrast and saturation), and so is its
crop (antialiased). Rates are divided by the number of threads.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from benchmarks.record import Record, alternate, arguments, num_threads, publish, record, timed
from byol.data.open import open_source
from byol.runtime.hardware import keep_freed_memory
from byol.views.blur import kernel_radius
from byol.views.policy import T_PRIME, T, ViewKernels, ViewPolicy
from byol.views.views import Views, pair

BICUBIC = transforms.InterpolationMode.BICUBIC
PIL_IMAGES = {True: 256, False: 16}
"""How many images a round of the row on PIL takes: small views, large views."""


def natural_images(count: int, size: int, seed: int) -> Tensor:
    """(N, 3, size, size) uint8: noise whose amplitude falls as 1 / frequency, as photographs' does, channels alike."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1
    grey, colour = random.standard_normal((2, count, 3, size, size))
    noise = 0.8 * grey[:, :1] + 0.4 * colour
    waves = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(size, size))
    waves /= waves.std(axis=(1, 2, 3), keepdims=True)
    return torch.from_numpy((118 + 60 * waves).clip(0, 255).astype(np.uint8))


def read_images(data: str, count: int, size: int) -> Tensor:
    """The first images of a folder or file, their centre square resized."""
    source = open_source(data)
    square = transforms.Compose([transforms.Resize(size, BICUBIC), transforms.CenterCrop(size)])
    images = [np.asarray(square(Image.fromarray(source.read(i % len(source), 3)))) for i in range(count)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def torchvision_view(policy: ViewPolicy, size: int) -> Callable[[Image.Image], Tensor]:
    jitter = transforms.ColorJitter(policy.brightness, policy.contrast, policy.saturation, policy.hue)
    blur = transforms.GaussianBlur(2 * kernel_radius(size) + 1, policy.blur_sigma)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, policy.crop_area, interpolation=BICUBIC),
            transforms.RandomHorizontalFlip(policy.flip_probability),
            transforms.RandomApply([jitter], policy.jitter_probability),
            transforms.RandomGrayscale(policy.grayscale_probability),
            transforms.RandomApply([blur], policy.blur_probability),
            transforms.RandomSolarize(128, policy.solarize_probability),
            transforms.ToTensor(),
        ]
    )


def measure(data: str, size: int, batch: int, threads: int, rounds: int, seed: int) -> Record:
    side = size if size <= 96 else 256
    images = read_images(data, batch, side) if data else natural_images(batch, side, seed)
    on_pil = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images[: PIL_IMAGES[size <= 96]]]
    first, second = torchvision_view(T, size), torchvision_view(T_PRIME, size)

    deep = torch.from_numpy(images.numpy().astype(np.uint16) * 257)

    def ours(kernels: ViewKernels, images: Tensor) -> Callable[[], float]:
        views, steps = (
            Views(pair(T, T_PRIME, size), batch, seed, kernels=kernels, channels_last=True),
            iter(range(10**6)),
        )
        return lambda: 2 * batch / timed(lambda: views(images, next(steps)))() / threads

    def theirs() -> float:
        return 2 * len(on_pil) / timed(lambda: [torch.stack([first(i), second(i)]) for i in on_pil])()

    rows = {
        "fused": ours("fused", images),
        "fused, 16 bits": ours("fused", deep),
        "native": ours("native", images),
        "native, 16 bits": ours("native", deep),
        "torchvision v1, PIL": theirs,
    }
    torch.manual_seed(seed)
    with num_threads(threads):
        alternate(rows, 1)  # compiles, and takes the memory
        found = alternate(rows, rounds)
    return record(
        "augment",
        f"views of {size} px from {side} px uint8 images, per core",
        "views/s",
        found,
        higher_is_better=True,
        ratios=[
            ("fused", "torchvision v1, PIL"),
            ("native", "torchvision v1, PIL"),
            ("fused", "native"),
            ("fused, 16 bits", "fused"),
            ("native, 16 bits", "native"),
        ],
        settings={"data": data or "1/f noise", "size": size, "source": side, "batch": batch, "threads": threads},
        seed=seed,
    )


if __name__ == "__main__":
    parser = arguments(__doc__, rounds=7)
    parser.add_argument(
        "--data", default="", help="as for byol pretrain; default: made-up images with photographs' spectrum"
    )
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=0, help="images of our rows; default: 256, or 64 above 96 px")
    parser.add_argument("--threads", type=int, default=1, help="of our rows; torchvision's has one")
    chosen = parser.parse_args()
    keep_freed_memory(torch.device("cpu"))
    batch = chosen.batch or (256 if chosen.size <= 96 else 64)
    publish(measure(chosen.data, chosen.size, batch, chosen.threads, chosen.rounds, chosen.seed), chosen.out)
