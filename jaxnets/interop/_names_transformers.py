"""Names of Hugging Face's transformers: ResNetForImageClassification."""

from typing import Any

import jax

from jaxnets.interop._names import Names, Rules
from jaxnets.models import ResNet

RESNET: Rules = {
    "stem.conv": "resnet.embedder.embedder.convolution",
    "stem.norm": "resnet.embedder.embedder.normalization",
    "stages.*.*.convs.*": lambda s, b, c: f"{_block(s, b)}.layer.{c}.convolution",
    "stages.*.*.norms.*": lambda s, b, c: f"{_block(s, b)}.layer.{c}.normalization",
    "stages.*.*.project": lambda s, b: f"{_block(s, b)}.shortcut.convolution",
    "stages.*.*.project_norm": lambda s, b: f"{_block(s, b)}.shortcut.normalization",
    "head": "classifier.1",
}


def resnet(model: ResNet) -> Names:
    """ResNet of basic blocks or bottlenecks."""
    return Names("torch", RESNET)


def check_resnet_config(model: ResNet, config: dict[str, Any]) -> None:
    """Raise ValueError where a `config.json` says what the weights cannot show.

    The same weights fit whatever convolution strides, and whatever the activation is.
    """
    rule = "load_safetensors: config.json says"
    first = bool(config.get("downsample_in_bottleneck", False))
    strided = [blocks[0] for blocks in list(model.stages)[1:]]
    ours = any(len(b.convs) == 3 and max(b.convs[0].strides) > 1 for b in strided)
    if strided and config.get("layer_type") == "bottleneck" and first != ours:
        raise ValueError(
            f"{rule} downsample_in_bottleneck={first}, so the stride of a bottleneck "
            f"stands in convolution {1 if first else 2}; the model has it in "
            f"{1 if ours else 2} (make it with stride_first={first})"
        )
    if config.get("downsample_in_first_stage", False):
        raise ValueError(
            f"{rule} downsample_in_first_stage=True, which ResNet has not: its first "
            "stage never strides"
        )
    if config.get("hidden_act", "relu") == "relu" and model.activation != jax.nn.relu:
        raise ValueError(f"{rule} hidden_act='relu'; the model's activation is another")
    if config.get("hidden_act", "relu") != "relu" and model.activation == jax.nn.relu:
        raise ValueError(
            f"{rule} hidden_act={config['hidden_act']!r}; the model has relu (make it "
            "with the same activation)"
        )


def _block(stage: int, block: int) -> str:
    return f"resnet.encoder.stages.{stage}.layers.{block}"


FAMILIES = {ResNet: resnet}
