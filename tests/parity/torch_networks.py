"""Torch networks under the names that torchvision, timm and tutorials give layers.

Compact, with free widths, so that comparisons are fast. Only names, layouts and the
mathematics are theirs.
"""

from typing import ClassVar

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn


class Residual(nn.Module):
    """BasicBlock and Bottleneck: with an expansion of 4 where `bottleneck`."""

    def __init__(self, inputs, width, stride, *, bottleneck, groups, base, squeeze):
        super().__init__()
        self.bottleneck = bottleneck
        out = width * (4 if bottleneck else 1)
        inner = width * base // 64 * groups if bottleneck else width
        if bottleneck:
            shapes = [(inputs, inner, 1, 1, 1), (inner, inner, 3, stride, groups)]
            shapes.append((inner, out, 1, 1, 1))
        else:
            shapes = [(inputs, out, 3, stride, 1), (out, out, 3, 1, 1)]
        for number, (i, o, window, step, parts) in enumerate(shapes, 1):
            conv = nn.Conv2d(i, o, window, step, window // 2, groups=parts, bias=False)
            setattr(self, f"conv{number}", conv)
            setattr(self, f"bn{number}", nn.BatchNorm2d(o))
        self.count = len(shapes)
        self.downsample = None
        if stride != 1 or inputs != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )
        self.se = Squeeze(out, squeeze) if squeeze else None
        self.out = out

    def forward(self, x):
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = y if number == self.count else torch.relu(y)
        y = y if self.se is None else self.se(y)
        past = x if self.downsample is None else self.downsample(x)
        return torch.relu(y + past)


class Squeeze(nn.Module):
    """timm's squeeze-excitation: dense layers as convolutions."""

    def __init__(self, features, reduction):
        super().__init__()
        self.fc1 = nn.Conv2d(features, features // reduction, 1)
        self.fc2 = nn.Conv2d(features // reduction, features, 1)

    def forward(self, x):
        mean = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(mean))))


class ResNet(nn.Module):
    def __init__(
        self,
        depths,
        *,
        bottleneck=False,
        groups=1,
        base=64,
        width=64,
        classes=5,
        squeeze=None,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage, depth in enumerate(depths):
            blocks = []
            for place in range(depth):
                block = Residual(
                    inputs,
                    width * 2**stage,
                    2 if stage and not place else 1,
                    bottleneck=bottleneck,
                    groups=groups,
                    base=base,
                    squeeze=squeeze,
                )
                inputs = block.out
                blocks.append(block)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.depths = depths
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        for stage in range(len(self.depths)):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


class AlexNet(nn.Module):
    def __init__(self, *, widths=(8, 12, 16, 10, 6), hidden=20, classes=5):
        super().__init__()
        layers, inputs = [], 3
        windows = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
        for number, (width, window) in enumerate(zip(widths, windows, strict=True)):
            layers += [nn.Conv2d(inputs, width, *window), nn.ReLU()]
            layers += [nn.MaxPool2d(3, 2)] if number in (0, 1, 4) else []
            inputs = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(inputs * 36, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 6)
        return self.classifier(x.flatten(1))


def vgg_features(depths, widths, normalise):
    layers, inputs = [], 3
    for depth, width in zip(depths, widths, strict=True):
        for _ in range(depth):
            layers.append(nn.Conv2d(inputs, width, 3, padding=1))
            layers += [nn.BatchNorm2d(width)] if normalise else []
            layers.append(nn.ReLU())
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class VGG(nn.Module):
    def __init__(self, depths, widths, *, normalise=False, hidden=20, classes=5):
        super().__init__()
        self.features = vgg_features(depths, widths, normalise)
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * 49, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 7)
        return self.classifier(x.flatten(1))


class TimmVGG(nn.Module):
    """The hidden layers are convolutions over the whole 7x7 map."""

    def __init__(self, depths, widths, *, hidden=20, classes=5):
        super().__init__()
        self.features = vgg_features(depths, widths, False)
        self.pre_logits = nn.Module()
        self.pre_logits.fc1 = nn.Conv2d(widths[-1], hidden, 7)
        self.pre_logits.fc2 = nn.Conv2d(hidden, hidden, 1)
        self.head = nn.Module()
        self.head.fc = nn.Linear(hidden, classes)

    def forward(self, x):
        x = torch.relu(self.pre_logits.fc1(self.features(x)))
        x = torch.relu(self.pre_logits.fc2(x))
        return self.head.fc(x.mean((2, 3)))


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


class ConvNorm(nn.Module):
    def __init__(self, inputs, out, window, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, out, window, stride, window // 2, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    def __init__(self, inputs, one, less3, three, less5, five, pooled):
        super().__init__()
        self.branch1 = ConvNorm(inputs, one, 1)
        self.branch2 = nn.Sequential(
            ConvNorm(inputs, less3, 1), ConvNorm(less3, three, 3)
        )
        # torchvision's window is 3 where the paper's is 5.
        self.branch3 = nn.Sequential(
            ConvNorm(inputs, less5, 1), ConvNorm(less5, five, 3)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, 1, 1, ceil_mode=True), ConvNorm(inputs, pooled, 1)
        )

    def forward(self, x):
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], 1)


class Auxiliary(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.conv = ConvNorm(inputs, 128, 1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, classes)

    def forward(self, x):
        x = self.conv(nn.functional.adaptive_avg_pool2d(x, 4)).flatten(1)
        return self.fc2(torch.relu(self.fc1(x)))


class GoogLeNet(nn.Module):
    """At its published widths, which are the family's: it has no others."""

    BLOCKS: ClassVar = {
        "3a": (192, 64, 96, 128, 16, 32, 32),
        "3b": (256, 128, 128, 192, 32, 96, 64),
        "4a": (480, 192, 96, 208, 16, 48, 64),
        "4b": (512, 160, 112, 224, 24, 64, 64),
        "4c": (512, 128, 128, 256, 24, 64, 64),
        "4d": (512, 112, 144, 288, 32, 64, 64),
        "4e": (528, 256, 160, 320, 32, 128, 128),
        "5a": (832, 256, 160, 320, 32, 128, 128),
        "5b": (832, 384, 192, 384, 48, 128, 128),
    }

    def __init__(self, classes=5):
        super().__init__()
        self.conv1 = ConvNorm(3, 64, 7, 2)
        self.conv2 = ConvNorm(64, 64, 1)
        self.conv3 = ConvNorm(64, 192, 3)
        for name, sizes in self.BLOCKS.items():
            setattr(self, f"inception{name}", Inception(*sizes))
        self.aux1 = Auxiliary(512, classes)
        self.aux2 = Auxiliary(528, classes)
        self.fc = nn.Linear(1024, classes)

    def forward(self, x):
        """The logits and those of both auxiliary heads."""
        mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        x = (x * deviation + mean - 0.5) / 0.5

        def pool(x, window=3):
            return nn.functional.max_pool2d(x, window, 2, ceil_mode=True)

        x = pool(self.conv3(self.conv2(pool(self.conv1(x)))))
        extra = []
        for name in self.BLOCKS:
            x = pool(x, 3) if name == "4a" else pool(x, 2) if name == "5a" else x
            x = getattr(self, f"inception{name}")(x)
            if name in ("4a", "4d"):
                extra.append(getattr(self, f"aux{len(extra) + 1}")(x))
        return self.fc(x.mean((2, 3))), *extra


def randomise(network, seed):
    """Weights that keep the size of signals, and statistics that are no defaults."""
    generator = torch.Generator().manual_seed(seed)

    def normal(like):
        return torch.randn(like.shape, generator=generator)

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(1 + 0.2 * normal(module.weight))
                module.bias.copy_(0.2 * normal(module.bias))
                module.running_mean.copy_(0.3 * normal(module.running_mean))
                module.running_var.copy_(torch.exp(0.4 * normal(module.running_var)))
                module.num_batches_tracked.fill_(7)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                module.weight.copy_(normal(module.weight) * (2 / fan_in) ** 0.5)
                if module.bias is not None:
                    module.bias.copy_(0.2 * normal(module.bias))
    return network.eval()
