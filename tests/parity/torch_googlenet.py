"""GoogLeNet in torch under torchvision's names, with free widths."""

from typing import ClassVar

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn


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
