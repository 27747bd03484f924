"""The techniques, one file each, in families that carry the field's names."""

from dashpot.techniques.augment.input_noise import InputNoise
from dashpot.techniques.augment.mixup import Mixup
from dashpot.techniques.averaging.ema import EMA
from dashpot.techniques.dropout.dropout import Dropout
from dashpot.techniques.gradient.clipping import GradientClipping
from dashpot.techniques.labels.label_smoothing import LabelSmoothing
from dashpot.techniques.penalties.elastic_net import ElasticNet
from dashpot.techniques.penalties.l1 import L1
from dashpot.techniques.penalties.l2 import L2
from dashpot.techniques.penalties.weight_decay import WeightDecay
from dashpot.techniques.sharpness.sam import SAM
from dashpot.techniques.stopping.early_stopping import EarlyStopping

__all__ = [
    "EMA",
    "L1",
    "L2",
    "SAM",
    "Dropout",
    "EarlyStopping",
    "ElasticNet",
    "GradientClipping",
    "InputNoise",
    "LabelSmoothing",
    "Mixup",
    "WeightDecay",
]
