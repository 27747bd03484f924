"""What happens around ``torch.export``: what it prints by itself, and why it cannot trace a network."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No word of exporters and quantizers, such as the graph that is printed where tracing fails: the error says what
    one can do.
    """
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)


def known_reason(model: nn.Module) -> str:
    """What a network, or a part of it, says by an attribute ``untraced`` of why it cannot be traced; else ``""``."""
    return next((str(module.untraced) for module in model.modules() if hasattr(module, "untraced")), "")
