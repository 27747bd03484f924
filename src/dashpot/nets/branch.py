"""The end of a residual branch."""

from __future__ import annotations

from torch import nn


class Branch(nn.Identity):
    """Passes on what a residual branch adds, unchanged: the place at which stochastic depth acts."""

    ends_branch = True
