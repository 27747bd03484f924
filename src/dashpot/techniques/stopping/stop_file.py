"""A file that ends a training: when it appears, training ends after the epoch."""

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, ClassVar

from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Name
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Scores, Verdict
from dashpot.techniques.stopping.best_weights import Stopping


class StopFile(Stopping):
    r"""End training after the epoch in which a file appears: ``touch stop`` in another terminal, or from a job script.

    .. math:: \text{stop after epoch } t \text{ if the path exists then}

    The weights are those of the last epoch, or the best ones where another technique keeps them; checkpoints and
    reports are written as at any end. The file stays: a file that is there at the start is refused, so that a training
    does not end by one that was forgotten. Under DistributedDataParallel all ranks end if one of them sees it.

    Args:
        path: of the file, relative to the working directory; its content does not count.

    Raises:
        ConflictError: the file is there at attach; in a search or a population, which train many networks side by side.

    Example:
        >>> import pathlib, tempfile, torch, dashpot
        >>> from dashpot.stopping import StopFile
        >>> model, path = torch.nn.Linear(1, 1), pathlib.Path(tempfile.mkdtemp()) / "stop"
        >>> session = StopFile(str(path)).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> before = session.epoch({}).stop
        >>> path.touch()
        >>> before, session.epoch({}).stop
        (False, True)

    Paper: none.

    When not to use it: at a terminal Ctrl-C ends a training at once; ``fit(resume=True)`` goes on after it.
    """

    summary = "stops after the epoch in which a file appears"
    waivers: ClassVar[Mapping[str, str]] = {
        **Stopping.waivers,
        "acts": "it follows a file, not scores",
    }

    path: Annotated[str, Name()] = field(default="stop-training", kw_only=False)

    def check(self, view: ModelView, ctx: Context) -> None:
        # A session that looks at its model again, while it trains, finds the file that has just appeared.
        if ctx.epoch == 0 and ctx.step == 0 and Path(self.path).exists():
            raise ConflictError(
                f"StopFile waits for {self.path}, and it is there already. Delete it, or name another path."
            )

    def on_epoch(self, scores: Scores, ctx: Context) -> Verdict:
        stop = ctx.over_ranks(float(Path(self.path).exists())) > 0
        return Verdict(stop=stop, reason=f"the file {self.path} appeared" if stop else "")
