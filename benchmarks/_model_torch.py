"""PyTorch following the recipes of `_model_recipes`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks._conv_peers import threads
from benchmarks._model_peers import Net, Weights
from benchmarks._model_recipes import Recipe


class TorchNet(Net):
    """PyTorch's functions on our weights turned to its layouts, channels second."""

    def conv(self, path: str, x: Any, stride: int = 1, padding: int = 0) -> Any:
        return F.conv2d(x, *self._pair(path), stride=stride, padding=padding)

    def dense(self, path: str, x: Any) -> Any:
        return F.linear(x, *self._pair(path))

    def _pair(self, path: str) -> tuple[Any, Any]:
        return self.weights[f"{path}.kernel"], self.weights.get(f"{path}.bias")

    def side(self, path: str) -> int:
        return self.weights[f"{path}.kernel"].shape[-1]

    def norm(self, path: str, x: Any, epsilon: float) -> Any:
        values = self.take(path, ("mean", "var", "scale", "bias"))
        if not values:
            return x
        return F.batch_norm(x, *values, training=self.training, eps=epsilon)

    def max_pool(
        self, x: Any, side: int, stride: int, padding: int = 0, ceil: bool = False
    ) -> Any:
        return F.max_pool2d(x, side, stride, padding, ceil_mode=ceil)

    def dropout(self, x: Any, rate: float) -> Any:
        return F.dropout(x, rate, self.training)

    def adaptive_mean(self, x: Any, side: int) -> Any:
        return F.adaptive_avg_pool2d(x, side)

    def flatten(self, x: Any) -> Any:
        # Our dense kernels expect the channels innermost.
        return x.movedim(1, -1).flatten(1)

    def mean(self, x: Any) -> Any:
        return x.mean((2, 3))

    def every(self, x: Any, stride: int) -> Any:
        return x[:, :, ::stride, ::stride]

    def pad_channels(self, x: Any) -> Any:
        half = x.shape[1] // 2
        return F.pad(x, (0, 0, 0, 0, half, half))

    def concat(self, parts: Sequence[Any]) -> Any:
        return torch.cat(list(parts), 1)

    def add(self, x: Any, y: Any) -> Any:
        return x + y

    relu = staticmethod(F.relu)


def torch_runs(
    recipe: Recipe,
    weights: Weights,
    x: np.ndarray,
    y: np.ndarray,
    rate: float,
    *,
    last: bool,
) -> dict[str, Callable[[], Any]]:
    """Forward pass and training step, in NCHW or channels last memory."""
    torch.set_num_threads(threads())
    layout = torch.channels_last if last else torch.contiguous_format
    values: dict[str, torch.Tensor] = {}
    for path, array in weights.items():
        value = torch.from_numpy(np.array(array))
        if value.ndim == 4:
            value = value.permute(3, 2, 0, 1).contiguous(memory_format=layout)
        elif value.ndim == 2:
            value = value.T.contiguous()
        values[path] = value
    learnt = [v for p, v in values.items() if not p.endswith((".mean", ".var"))]
    for value in learnt:
        value.requires_grad_()
    images = torch.from_numpy(x).movedim(-1, 1).contiguous(memory_format=layout)
    labels = torch.from_numpy(y.astype(np.int64))
    optimizer = torch.optim.SGD(learnt, lr=rate)

    def forward() -> np.ndarray:
        with torch.no_grad():
            return recipe(TorchNet(values), images).numpy()

    def training() -> np.ndarray:
        optimizer.zero_grad()
        loss = F.cross_entropy(recipe(TorchNet(values, True), images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach().numpy()

    return {"forward": forward, "training": training}
