"""scikit-learn estimators over :func:`dashpot.fit` and :func:`dashpot.tune`; they add no maths."""

from dashpot.estimators.classifier import DashpotClassifier
from dashpot.estimators.regressor import DashpotRegressor

__all__ = ["DashpotClassifier", "DashpotRegressor"]
