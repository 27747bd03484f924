"""How each technique acts on many members at once: by the very functions with which it acts on one.

An actor holds the technique of each member (or None), fetches each member's own strengths and draws, and calls the
technique's pure functions on tensors with a leading member axis. At the value that switches a technique off its
function is the identity, so members without it stand in the same call.
"""

from __future__ import annotations

from dashpot.core.technique import Technique
from dashpot.population.dropping import StackedDropout
from dashpot.population.inputs import StackedInputNoise, StackedLabelSmoothing, StackedMixup
from dashpot.population.technique import StackedTechnique
from dashpot.population.weighing import StackedEMA, StackedGradientClipping, StackedL2, StackedSAM
from dashpot.techniques.augment.input_noise import InputNoise
from dashpot.techniques.augment.mixup import Mixup
from dashpot.techniques.averaging.ema import EMA
from dashpot.techniques.dropout.dropout import Dropout
from dashpot.techniques.gradient.clipping import GradientClipping
from dashpot.techniques.labels.label_smoothing import LabelSmoothing
from dashpot.techniques.penalties.l2 import L2
from dashpot.techniques.penalties.penalty import Proximal
from dashpot.techniques.penalties.weight_decay import WeightDecay
from dashpot.techniques.sharpness.sam import SAM
from dashpot.techniques.stopping.early_stopping import EarlyStopping

ACTORS: dict[type[Technique], type[StackedTechnique]] = {
    Mixup: StackedMixup,
    InputNoise: StackedInputNoise,
    Dropout: StackedDropout,
    LabelSmoothing: StackedLabelSmoothing,
    L2: StackedL2,
    GradientClipping: StackedGradientClipping,
    SAM: StackedSAM,
    EMA: StackedEMA,
}
"""Techniques that act through an actor."""
IN_THE_UPDATE = (WeightDecay, Proximal)
"""Techniques that act inside the stacked update."""
BETWEEN_EPOCHS = (EarlyStopping,)


def why_not(technique: Technique) -> str | None:
    """Why a technique cannot act on a stack, or None. Subclasses may do something else than their base, so exact types
    count.
    """
    if (
        type(technique) in ACTORS
        or type(technique) in (WeightDecay, *BETWEEN_EPOCHS)
        or isinstance(technique, Proximal)
    ):
        return None
    return f"{type(technique).__name__} has no stacked form"
