"""The techniques, one file each, in families that carry the field's names."""

from dashpot.techniques.augment.input_noise import InputNoise
from dashpot.techniques.augment.mixup import Mixup
from dashpot.techniques.averaging.ema import EMA
from dashpot.techniques.dropout.dropout import Dropout
from dashpot.techniques.gradient.clipping import GradientClipping
from dashpot.techniques.labels.label_smoothing import LabelSmoothing
from dashpot.techniques.penalties.elastic_net import ElasticNet
from dashpot.techniques.penalties.group_elastic_net import GroupElasticNet
from dashpot.techniques.penalties.group_lasso import GroupLasso
from dashpot.techniques.penalties.hard_threshold import HardThreshold
from dashpot.techniques.penalties.l0 import L0
from dashpot.techniques.penalties.l1 import L1
from dashpot.techniques.penalties.l2 import L2
from dashpot.techniques.penalties.max_norm import MaxNorm
from dashpot.techniques.penalties.mcp import MCP
from dashpot.techniques.penalties.n_of_m import NOfM
from dashpot.techniques.penalties.non_negative import NonNegative
from dashpot.techniques.penalties.nuclear_norm import NuclearNorm
from dashpot.techniques.penalties.orthogonality import Orthogonality
from dashpot.techniques.penalties.scad import SCAD
from dashpot.techniques.penalties.sparse_group_lasso import SparseGroupLasso
from dashpot.techniques.penalties.total_variation import TotalVariation
from dashpot.techniques.penalties.unit_norm import UnitNorm
from dashpot.techniques.penalties.weight_decay import WeightDecay
from dashpot.techniques.sharpness.sam import SAM
from dashpot.techniques.stopping.early_stopping import EarlyStopping

__all__ = [
    "EMA",
    "L0",
    "L1",
    "L2",
    "MCP",
    "SAM",
    "SCAD",
    "Dropout",
    "EarlyStopping",
    "ElasticNet",
    "GradientClipping",
    "GroupElasticNet",
    "GroupLasso",
    "HardThreshold",
    "InputNoise",
    "LabelSmoothing",
    "MaxNorm",
    "Mixup",
    "NOfM",
    "NonNegative",
    "NuclearNorm",
    "Orthogonality",
    "SparseGroupLasso",
    "TotalVariation",
    "UnitNorm",
    "WeightDecay",
]
