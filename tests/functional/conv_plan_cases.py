"""Convolutions that are planned, and files of plans, sound and damaged."""

import json

SMALL = ((2, 8, 8, 4), (3, 3, 4, 6))
LONG = ((8, 64, 64, 16), (31, 31, 16, 16))
# Shapes of layers that networks are made of: x, kernel, options.
LAYERS = (
    ((128, 28, 28, 1), (5, 5, 1, 32), {}),
    ((8, 224, 224, 3), (7, 7, 3, 64), {"strides": 2}),
    ((8, 56, 56, 64), (3, 3, 64, 64), {}),
    ((8, 56, 56, 64), (1, 1, 64, 256), {}),
    ((8, 56, 56, 128), (3, 3, 1, 128), {"groups": 128}),
    ((8, 28, 28, 64), (3, 3, 16, 64), {"groups": 4, "strides": 2}),
    ((2, 8, 28, 28, 16), (3, 3, 3, 16, 32), {}),
    ((4, 1000, 32), (9, 32, 32), {"dilation": 4, "padding": "CAUSAL"}),
)


ENTRY = {
    "platform": "cpu",
    "batch": 2,
    "spatial": [8, 8],
    "window": [3, 3],
    "channels": 4,
    "out": 6,
    "strides": [1, 1],
    "padding": [[1, 1], [1, 1]],
    "dilation": [1, 1],
    "groups": 1,
    "dtype": "float32",
    "forward": "shift",
    "input_grad": "direct",
    "kernel_grad": "gemm",
}


def named(entry):
    return entry["forward"], entry["input_grad"], entry["kernel_grad"]


def write(path, *entries, **header):
    head = {"format": "jaxnets convolution plans", "version": 1} | header
    path.write_text(json.dumps({**head, "plans": list(entries)}))
    return path


def json_with(name, value):
    entry = ENTRY | {name: value}
    head = {"format": "jaxnets convolution plans", "version": 1}
    return json.dumps(head | {"plans": [entry]})


def damaged():
    """Files that are not ours, or ours no more, and what is said of them."""
    text = json.dumps(
        {"format": "jaxnets convolution plans", "version": 1, "plans": [ENTRY]}
    )
    kind = "plan 0 holds a value of the wrong kind"
    return {
        "empty": ("", "is not JSON .*write it anew with tune_conv"),
        "truncated": (text[: len(text) // 2], "is not JSON"),
        "bytes": (b"\x93NUMPY\x01\x00\xff", "is not JSON"),
        "nested": ("[" * 100_000, "is not JSON"),
        "digits": (text.replace('"batch": 2', '"batch": ' + "1" * 5000), "is not JSON"),
        "list": ("[]", "is not a file of jaxnets convolution plans"),
        "number": ("3", "is not a file of jaxnets"),
        "foreign": (
            '{"format": "other", "version": 1, "plans": []}',
            "is not a file of",
        ),
        "newer": (
            text.replace('"version": 1', '"version": 2'),
            "has version 2, this jaxnets reads 1; write it anew",
        ),
        "versionless": (text.replace('"version": 1,', ""), "has version None"),
        "no plans": (text.replace('"plans"', '"plan"'), "lacks its list of plans"),
        "plans of a number": (
            text[: text.index("[")] + "7}",
            "lacks its list of plans",
        ),
        "plan of a number": (
            text[: text.index("[")] + "[7]}",
            "plan 0 is not an object",
        ),
        "missing field": (
            text.replace('"groups": 1, ', ""),
            "plan 0 has missing or unknown fields: groups",
        ),
        "unknown field": (
            text.replace('"groups": 1', '"groups": 1, "colour": 1'),
            "plan 0 has missing or unknown fields: colour",
        ),
        **{
            f"{name} of {value!r}": (json_with(name, value), kind)
            for name, value in [
                ("batch", "2"),
                ("batch", 2.0),
                ("batch", True),
                ("batch", -1),
                ("batch", None),
                ("groups", 0),
                ("groups", 3),
                ("out", [6]),
                ("dtype", 32),
                ("platform", None),
                ("forward", None),
                ("forward", ["gemm"]),
                ("spatial", [8]),
                ("spatial", "88"),
                ("spatial", [8, 8.5]),
                ("window", []),
                ("window", 3),
                ("strides", [1, 0]),
                ("strides", {"0": 1, "1": 1}),
                ("dilation", [1, "1"]),
                ("padding", [1, 1]),
                ("padding", [[1, 1]]),
                ("padding", [[1, 1], [1, -1]]),
                ("padding", "SAME"),
            ]
        },
        "unknown algorithm": (
            json_with("forward", "magic"),
            "plan 0: algorithm must be one of 'auto', .*; got 'magic'",
        ),
        "unknown dtype": (json_with("dtype", "float33"), "plan 0: .*float33"),
        "winograd with strides": (
            json_with("strides", [2, 2]).replace('"shift"', '"winograd"'),
            r"plan 0: algorithm 'winograd' needs strides of 1; got \(2, 2\)",
        ),
        "fft of integers": (
            json_with("dtype", "int8").replace('"shift"', '"fft"'),
            "plan 0: algorithm 'fft' works on floats; got int8",
        ),
    }
