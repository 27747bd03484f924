"""Which words a bag of words has kept, by name."""

from __future__ import annotations

from dashpot.core.errors import DataError
from dashpot.nets.text_bag import TextBag
from dashpot.texts.lexicon import Lexicon
from dashpot.texts.names import feature_names


def kept_words(net: TextBag, lexicon: Lexicon) -> dict[str, list[float]]:
    """The features whose weight in the linear part of a bag is not zero: name -> weight of each output, the largest
    first. Pieces of words begin with ``#``.

    After ``L1()`` or a group lasso the others are exactly zero. Of a bag with ``width`` the
    vectors may still use what its linear part does not.

    Args:
        net: a bag with the tables of ``lexicon``.
        lexicon: ``prepared.preprocessing.lexicon``.

    Raises:
        DataError: a lexicon of another size.

    Example:
        >>> import torch
        >>> lexicon = Lexicon.fit([["a", "red", "car"], ["a", "red", "cart"], ["the", "car"]])
        >>> net = TextBag.of(lexicon, outputs=2, width=0)
        >>> net.linear.weight.data[3] = torch.tensor([0.05, -0.1])
        >>> kept_words(net, lexicon)
        {'a': [1.0, -2.0]}
    """
    names = feature_names(lexicon)
    if len(names) != net.features:
        raise DataError(f"a lexicon must have the features of the network, {net.features}, got {len(names)}.")
    weight = net.linear_weight()
    kept = weight.abs().amax(dim=1)
    order = [i for i in kept.argsort(descending=True, stable=True).tolist() if kept[i] != 0]
    return {names[i]: weight[i].tolist() for i in order}
