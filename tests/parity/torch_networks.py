"""Torch networks under the names that torchvision, timm and tutorials give layers.

Compact, with free widths, so that comparisons are fast. Only names, layouts and the
mathematics are theirs.
"""

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
