"""Every public name has a row in the table of the laws, `tests/cases.py`.

A new one fails here until it has, or stands below among those that no transform can
meet.
"""

import types

import jaxnets
from tests.cases import CASES

ROOMS = ("functional", "nn", "models", "data", "train", "interop")

# Public names that are not functions from arrays to arrays: what they are instead.
# Their tests stand in the folder of their room.
NO_ARRAYS = {
    "functional.BatchStats": "a container, in the rows of batch_norm",
    "functional.ConnectionCounts": "a container",
    "functional.ConvExplanation": "a container",
    "functional.ConvOperator": "the operator, in the rows of conv_operator",
    "functional.ConvPlan": "a container",
    "functional.LayerCounts": "a container",
    "functional.connection_counts": "integers only",
    "functional.conv_accuracy": "sets an option",
    "functional.conv_output_shape": "integers only",
    "functional.conv_plan": "integers only",
    "functional.conv_transpose_output_shape": "integers only",
    "functional.equivariance_error": "takes functions",
    "functional.explain_conv": "integers only",
    "functional.reflect_action": "makes a function",
    "functional.rotate_action": "makes a function",
    "functional.shift_action": "makes a function",
    "functional.tune_conv": "runs on the host",
    "functional.use_plans": "reads a file",
    "functional.pool_output_shape": "integers only",
    **{
        f"functional.{name}": "a container, in the rows of recurrence"
        for name in (
            "ConvLSTMParams GRUParams LSTMNorm LSTMParams LSTMState MGUParams RNNParams"
        ).split()
    },
    **{
        f"functional.{name}": "makes arrays, from sizes or for a sequence"
        for name in (
            "init_conv_lstm init_gru init_lstm init_mgu init_rnn zero_state"
        ).split()
    },
    "functional.truncated_bptt": "its gradients are cut on purpose",
    "nn.ActivityPenalty": "a kind of variable",
    "nn.annotate": "sets metadata of a variable",
    "nn.constrain": "makes an optimizer",
    "nn.freeze": "makes an optimizer",
    "nn.penalty": "takes a module",
    "nn.LayerSummary": "a container",
    "nn.Summary": "a container",
    "nn.summary": "describes a module",
    "nn.LayerField": "a container",
    "nn.ReceptiveField": "a container",
    "nn.effective_receptive_field": "measures a module",
    "nn.receptive_field": "describes a module",
    **{
        f"models.{name}": "a network of rows of `nn`, or its name; see tests/models"
        for name in (
            "AlexNet GoogLeNet LeNet5 ModernLeNet ResNet VGG create names"
        ).split()
    },
    **{
        f"data.{name}": "runs on the host"
        for name in (
            "Dataset DownloadError Split batch_indices batches class_names epoch_order "
            "load load_raw prefetch process_slice split_validation steps_per_epoch "
            "scale_images to_binary to_grayscale to_rgb "
            "StreamBatches Vocabulary encode_file load_text read_text "
            "vocabulary_of_file"
        ).split()
    },
    **{
        f"interop.recurrent_{way}_{peer}": "runs on the host"
        for way in ("from", "to")
        for peer in ("torch", "keras", "flax")
    },
    "interop.LoadReport": "a container",
    "interop.load_safetensors": "reads a file",
    "interop.save_safetensors": "writes a file",
    **{
        f"train.{name}": "runs or describes a training"
        for name in (
            "BadCheckpoint CSVLogger Callback Checkpoint ConfusionMatrix EarlyStopping "
            "History LearningRate Mean Metric NonFinite Progress Resumed TensorBoard "
            "TrainState Trainer accuracy create_train_state make_eval_step "
            "make_train_step mean robustness_curve scan_steps top_k"
        ).split()
    },
}


def public_names() -> set[str]:
    """Every public name of every room; modules and the rooms' folders are not names."""
    return {
        f"{room}.{name}"
        for room in ROOMS
        for name, value in vars(getattr(jaxnets, room)).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }


def test_every_public_name_has_a_row():
    covered = {case.name for case in CASES} | set(NO_ARRAYS)
    names = public_names()
    assert not names - covered, f"no row in tests/cases.py: {sorted(names - covered)}"
    assert not covered - names, f"not public: {sorted(covered - names)}"
