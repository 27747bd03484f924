"""Augmentation of single texts: inside of a Dataset, in the workers of a DataLoader, or of a whole file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.fields.domains import check_whole
from dashpot.core.recipe import Recipe
from dashpot.core.rng import derive_all, stream
from dashpot.core.running.nested import told
from dashpot.core.technique import Technique
from dashpot.techniques.augment.text.base import TextTechnique


class TextTransform:
    """Augments texts; what is drawn is a hash of (seed, epoch, index), and of nothing else.

    So it is the same in any process, whatever the number of workers or the other texts of a batch, and in a run that
    was resumed. No random state is read or changed.

    Args:
        recipe: techniques on texts, in any form that :meth:`dashpot.Recipe.coerce` reads.
        seed: of all draws.

    Raises:
        ConfigError: a technique that does not act on texts, or one with a schedule.

    Example:
        >>> import dashpot
        >>> transform = dashpot.augment.text.TextTransform("random-deletion:rate=0.3 | random-swap", seed=0)
        >>> chinese = "今天我很高兴，因为天气好。"
        >>> first, again, later = (transform(chinese, index=7, epoch=epoch) for epoch in (0, 0, 1))
        >>> first == again, first == later
        (True, False)
        >>> transform.batch(["one text", "and another one"], index=[3, 7])
        ['one text', 'and']

    When not to use it: for ids that a tokenizer has made; ``recipe.attach`` takes techniques that can act on them.
    """

    def __init__(self, recipe: Recipe | Technique | str | Sequence[Any], seed: int = 0) -> None:
        self.seed = check_whole("seed", seed, 0)
        self._techniques = []
        found = Recipe.coerce(recipe)
        for path, technique in zip(found.paths(), found, strict=True):
            if not isinstance(technique, TextTechnique):
                way = "Leave it out of the recipe (--with)."
                raise ConfigError("recipe", "made of techniques on texts, such as random-swap", str(technique), way)
            if technique.schedules():
                way = "Give it plain numbers."
                raise ConfigError("recipe", "made of techniques without schedules", str(technique), way)
            technique.demand()
            self._techniques.append((stream(self.seed, path), technique))

    def __call__(self, text: Any, *, index: int, epoch: int = 0) -> Any:
        """A text, or a list of tokens, as it is trained on.

        Args:
            index: its place in the data, >= 0.
            epoch: epochs completed, >= 0.

        Raises:
            DataError: what is neither.
        """
        if not isinstance(text, str | list | tuple):
            raise DataError(f"a text must be a str or a list of tokens, got {told(text)}.")
        return self.batch([text], index=[index], epoch=epoch)[0]

    def batch(self, texts: Sequence[Any], *, index: Sequence[int], epoch: int = 0) -> list[Any]:
        """Many texts at once, each as alone: several times as fast.

        Raises:
            DataError: what is no text, or another number of indices.
        """
        found: Any = list(texts)
        places = np.asarray(index, dtype=np.uint64)
        if places.shape != (len(found),):
            raise DataError(f"index must have one whole number for each of the {len(found)} texts, got {index!r}.")
        for own, technique in self._techniques:
            keys = derive_all(np.full(len(found), own, dtype=np.uint64), epoch, places)
            found = technique.changed(found, keys)
        return list(found)
