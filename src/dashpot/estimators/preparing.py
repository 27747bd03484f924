"""How an estimator prepares what it is given, and how long it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dashpot.core.errors import ConfigError
from dashpot.data import ImagePreprocessing, Preprocessing
from dashpot.data.kinds import KINDS, kind_of
from dashpot.data.pictures.kind import PICTURE_KINDS
from dashpot.data.rows import Rows
from dashpot.training.builtin import TrainingLength
from dashpot.training.defaults import LARGEST, MOST_EPOCHS, SMALLEST_FIXED_EPOCHS, batch_size_for


def prepared_by(
    inputs: Rows | np.ndarray,
    train: np.ndarray,
    weight: np.ndarray | None,
    pictures: str | None,
    texts: Mapping[str, Any],
) -> Any:
    """What is learned of the rows ``train``, by the weight of all rows.

    Args:
        pictures: what images are; None: as found.
        texts: of texts the columns and the tokenizer, of tables directions of columns.

    Raises:
        ConfigError: ``pictures`` of other data, or of an unknown name.
        DataError: infinity in a column.
    """
    if pictures not in (None, *PICTURE_KINDS):
        raise ConfigError("pictures", f"one of {', '.join(PICTURE_KINDS)} or None", pictures)
    if isinstance(inputs, Rows):
        how: Any = Preprocessing.fit(inputs, train, strict=False, weight=weight, **texts)
    else:
        how = KINDS[kind_of(inputs).name].preprocessing.fit(inputs, train, weight=weight, **texts)
    if pictures is None:
        return how
    if not isinstance(how, ImagePreprocessing):
        raise ConfigError("pictures", "None for other data than images", pictures, "Leave it out.")
    return replace(how, pictures=pictures)


def transformed(how: Any, inputs: Rows | np.ndarray) -> np.ndarray:
    """What a network takes: features, pixels in their own range (bytes stay bytes), standardized signals, or rows of
    words.
    """
    found = how.transform(inputs, strict=False) if isinstance(inputs, Rows) else how.transform(inputs)
    return np.asarray(found)


def usual_length(kind: str, rows: int, *, pretrained: bool = False) -> TrainingLength:
    """Of a training where nothing is said. Tables have 100 epochs, so that few rows have smaller batches; images,
    signals and texts about as many steps as ``dashpot fit`` gives them.

    Args:
        pretrained: the network is an encoder that is trained further.
    """
    if kind != "table":
        return TrainingLength.default(kind, rows, pretrained=pretrained)
    return TrainingLength(MOST_EPOCHS, batch_size_for(rows, smallest=SMALLEST_FIXED_EPOCHS, largest=LARGEST))
