"""Penalties and constraints on weights, their groups, their strengths, and the axes of layers that they follow."""

from __future__ import annotations

from dashpot.core.axes import register_layer_axes
from dashpot.techniques.penalties.cautious_weight_decay import CautiousWeightDecay
from dashpot.techniques.penalties.channel_lasso import ChannelLasso
from dashpot.techniques.penalties.compress import Compress
from dashpot.techniques.penalties.corrected_weight_decay import CorrectedWeightDecay
from dashpot.techniques.penalties.elastic_net import ElasticNet
from dashpot.techniques.penalties.group_elastic_net import GroupElasticNet
from dashpot.techniques.penalties.group_lasso import GroupLasso
from dashpot.techniques.penalties.grouping import Grouping
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
from dashpot.techniques.penalties.step_rules import register_step_rule
from dashpot.techniques.penalties.strengths import max_strength, resolve_strengths
from dashpot.techniques.penalties.total_variation import TotalVariation
from dashpot.techniques.penalties.unit_norm import UnitNorm
from dashpot.techniques.penalties.weight_decay import WeightDecay

__all__ = [
    "L0",
    "L1",
    "L2",
    "MCP",
    "SCAD",
    "CautiousWeightDecay",
    "ChannelLasso",
    "Compress",
    "CorrectedWeightDecay",
    "ElasticNet",
    "GroupElasticNet",
    "GroupLasso",
    "Grouping",
    "HardThreshold",
    "MaxNorm",
    "NOfM",
    "NonNegative",
    "NuclearNorm",
    "Orthogonality",
    "SparseGroupLasso",
    "TotalVariation",
    "UnitNorm",
    "WeightDecay",
    "max_strength",
    "register_layer_axes",
    "register_step_rule",
    "resolve_strengths",
]
