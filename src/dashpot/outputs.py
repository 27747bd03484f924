"""Techniques that change what a network's outputs are held to."""

from __future__ import annotations

from dashpot.techniques.outputs.confidence_penalty import ConfidencePenalty
from dashpot.techniques.outputs.flooding import Flooding
from dashpot.techniques.outputs.focal_loss import FocalLoss
from dashpot.techniques.outputs.poly_loss import PolyLoss
from dashpot.techniques.outputs.r_drop import RDrop
from dashpot.techniques.outputs.self_distillation import SelfDistillation

__all__ = ["ConfidencePenalty", "Flooding", "FocalLoss", "PolyLoss", "RDrop", "SelfDistillation"]
