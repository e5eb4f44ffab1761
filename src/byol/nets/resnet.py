"""The paper's encoders: ResNet v1 of depth 18 to 200 and any width, with torchvision's parameter names."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from byol.nets.compiled.fused_norm import norm_relu
from byol.nets.initialization import initialize
from byol.nets.norm import Conventions, batch_norm_2d

BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
"""Blocks per group, by depth."""


class SameConv2d(nn.Conv2d):
    """Convolution with SAME padding: an even input with stride 2 gets one more row below than above."""

    def forward(self, input: Tensor) -> Tensor:
        spanned = (self.kernel_size[0] - 1) * self.dilation[0] + 1
        return super().forward(_pad_same(input, spanned, self.stride[0], 0.0))


class SameMaxPool2d(nn.Module):
    """Max-pooling over 3x3 with stride 2 and SAME padding."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.max_pool2d(_pad_same(input, 3, 2, float("-inf")), 3, 2)


def _pad_same(input: Tensor, kernel: int, stride: int, value: float) -> Tensor:
    def sides(size: int) -> tuple[int, int]:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2

    return functional.pad(input, (*sides(input.shape[3]), *sides(input.shape[2])), value=value)


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int, conventions: Conventions, dilation: int = 1
) -> nn.Conv2d:
    """Convolution without bias whose output has the input's size divided by the stride."""
    if conventions == "deepmind":
        return SameConv2d(inputs, outputs, kernel, stride, dilation=dilation, bias=False)
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 * dilation, dilation, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, the stride on the first."""

    expansion = 1

    def __init__(
        self, inputs: int, channels: int, stride: int, shortcut: bool, conventions: Conventions, dilation: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, channels, 3, stride, conventions, dilation)
        self.bn1 = batch_norm_2d(channels, conventions)
        self.conv2 = convolution(channels, channels, 3, 1, conventions, dilation)
        self.bn2 = batch_norm_2d(channels, conventions)
        self.downsample = _shortcut(inputs, channels, stride, conventions) if shortcut else None

    def forward(self, input: Tensor) -> Tensor:
        out = norm_relu(self.bn1, self.conv1(input))
        residual = input if self.downsample is None else self.downsample(input)
        return norm_relu(self.bn2, self.conv2(out), residual)


class Bottleneck(nn.Module):
    """Three convolutions: 1x1, 3x3 with the stride, and 1x1 to four times the channels."""

    expansion = 4

    def __init__(
        self, inputs: int, channels: int, stride: int, shortcut: bool, conventions: Conventions, dilation: int = 1
    ) -> None:
        super().__init__()
        outputs = channels * self.expansion
        self.conv1 = convolution(inputs, channels, 1, 1, conventions)
        self.bn1 = batch_norm_2d(channels, conventions)
        self.conv2 = convolution(channels, channels, 3, stride, conventions, dilation)
        self.bn2 = batch_norm_2d(channels, conventions)
        self.conv3 = convolution(channels, outputs, 1, 1, conventions)
        self.bn3 = batch_norm_2d(outputs, conventions)
        self.downsample = _shortcut(inputs, outputs, stride, conventions) if shortcut else None

    def forward(self, input: Tensor) -> Tensor:
        out = norm_relu(self.bn1, self.conv1(input))
        out = norm_relu(self.bn2, self.conv2(out))
        residual = input if self.downsample is None else self.downsample(input)
        return norm_relu(self.bn3, self.conv3(out), residual)


def _shortcut(inputs: int, outputs: int, stride: int, conventions: Conventions) -> nn.Sequential:
    return nn.Sequential(convolution(inputs, outputs, 1, stride, conventions), batch_norm_2d(outputs, conventions))


class ResNet(nn.Module):
    """(N, in_channels, H, W) -> (N, num_features): post-activation ResNet up to global average pooling.

    `width` multiplies every channel count, also the stem's (BYOL appendix F; torchvision's wide ResNets widen only
    the inner ones). With conventions="deepmind" the first block of every group has a projection shortcut, padding is
    SAME, batch norm keeps Haiku's averages, and initial weights are truncated normal. `channels` are the inner channels
    of the four groups and `stem_channels` the stem's, in place of `width`. Groups beyond `output_stride` px per vector have
    dilation in their 3x3 convolutions in place of the stride, with the same weights (BYOL D.4); 0: none.
    """

    def __init__(
        self,
        depth: int = 50,
        *,
        width: float = 1.0,
        in_channels: int = 3,
        stem: str = "imagenet",
        conventions: Conventions = "torch",
        zero_init_residual: bool = False,
        channels: Sequence[int] = (),
        stem_channels: int = 0,
        output_stride: int = 0,
    ) -> None:
        super().__init__()
        block = BasicBlock if depth < 50 else Bottleneck
        channels = channels or [max(1, round(width * c)) for c in (64, 128, 256, 512)]
        inputs = stem_channels or channels[0]
        if stem == "small":
            self.conv1 = convolution(in_channels, inputs, 3, 1, conventions)
            self.maxpool: nn.Module = nn.Identity()
        else:
            self.conv1 = convolution(in_channels, inputs, 7, 2, conventions)
            self.maxpool = SameMaxPool2d() if conventions == "deepmind" else nn.MaxPool2d(3, 2, padding=1)
        self.bn1 = batch_norm_2d(inputs, conventions)
        groups, total, dilation, strides = [], 1 if stem == "small" else 4, 1, []
        for number, (group_channels, count) in enumerate(zip(channels, BLOCKS[depth], strict=True)):
            strided = number > 0 and not (output_stride and 2 * total > output_stride)
            if strided:
                total *= 2
            elif number > 0:
                dilation *= 2
            strides.append(total)
            blocks = []
            for index in range(count):
                changes = number > 0 or inputs != group_channels * block.expansion
                shortcut = index == 0 and (changes or conventions == "deepmind")
                stride = 2 if index == 0 and strided else 1
                blocks.append(block(inputs, group_channels, stride, shortcut, conventions, dilation))
                inputs = group_channels * block.expansion
            groups.append(nn.Sequential(*blocks))
        self.strides = tuple(strides)
        """Pixels between neighbouring vectors of the map of each group."""
        self.layer1, self.layer2, self.layer3, self.layer4 = groups
        self.num_features = inputs
        initialize(self, conventions)
        if zero_init_residual:
            for part in self.modules():
                if isinstance(part, Bottleneck):
                    nn.init.zeros_(part.bn3.weight)  # pyright: ignore[reportArgumentType]
                elif isinstance(part, BasicBlock):
                    nn.init.zeros_(part.bn2.weight)  # pyright: ignore[reportArgumentType]

    def forward(self, images: Tensor) -> Tensor:
        out = self.maxpool(norm_relu(self.bn1, self.conv1(images)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return out.mean(dim=(2, 3))

    def maps(self, images: Tensor) -> list[Tensor]:
        """The map (N, D, h, w) of each of the four groups for images (N, in_channels, H, W)."""
        out = self.maxpool(norm_relu(self.bn1, self.conv1(images)))
        maps = []
        for group in (self.layer1, self.layer2, self.layer3, self.layer4):
            maps.append(out := group(out))
        return maps
