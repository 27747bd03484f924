"""Techniques that change what a network's outputs are held to."""

from __future__ import annotations

from dashpot.techniques.outputs.activity_penalty import ActivityPenalty
from dashpot.techniques.outputs.confidence_penalty import ConfidencePenalty
from dashpot.techniques.outputs.distillation import Distillation
from dashpot.techniques.outputs.flooding import Flooding
from dashpot.techniques.outputs.focal_loss import FocalLoss
from dashpot.techniques.outputs.gradient_penalty import GradientPenalty
from dashpot.techniques.outputs.jacobian_penalty import JacobianPenalty
from dashpot.techniques.outputs.logit_norm import LogitNorm
from dashpot.techniques.outputs.margin import Margin
from dashpot.techniques.outputs.poly_loss import PolyLoss
from dashpot.techniques.outputs.r_drop import RDrop
from dashpot.techniques.outputs.self_distillation import SelfDistillation

__all__ = [
    "ActivityPenalty",
    "ConfidencePenalty",
    "Distillation",
    "Flooding",
    "FocalLoss",
    "GradientPenalty",
    "JacobianPenalty",
    "LogitNorm",
    "Margin",
    "PolyLoss",
    "RDrop",
    "SelfDistillation",
]
