"""Training: pure steps, and a trainer that resumes bit for bit."""

from jaxnets.train._callbacks import Callback as Callback
from jaxnets.train._callbacks import LearningRate as LearningRate
from jaxnets.train._checkpoint import Checkpoint as Checkpoint
from jaxnets.train._checkpoint import Resumed as Resumed
from jaxnets.train._checkpoint_arrays import BadCheckpoint as BadCheckpoint
from jaxnets.train._csv_logger import CSVLogger as CSVLogger
from jaxnets.train._early_stopping import EarlyStopping as EarlyStopping
from jaxnets.train._history import History as History
from jaxnets.train._metrics import ConfusionMatrix as ConfusionMatrix
from jaxnets.train._metrics import Mean as Mean
from jaxnets.train._metrics import Metric as Metric
from jaxnets.train._metrics import accuracy as accuracy
from jaxnets.train._metrics import mean as mean
from jaxnets.train._metrics import top_k as top_k
from jaxnets.train._progress import Progress as Progress
from jaxnets.train._robustness import robustness_curve as robustness_curve
from jaxnets.train._step import NonFinite as NonFinite
from jaxnets.train._step import TrainState as TrainState
from jaxnets.train._step import create_train_state as create_train_state
from jaxnets.train._step import make_eval_step as make_eval_step
from jaxnets.train._step import make_train_step as make_train_step
from jaxnets.train._step import scan_steps as scan_steps
from jaxnets.train._tensorboard import TensorBoard as TensorBoard
from jaxnets.train._trainer import Trainer as Trainer
