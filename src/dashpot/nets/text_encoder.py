"""A transformer that was trained before, and that is trained further on texts with a head of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.fields.domains import check_whole
from dashpot.texts import transformer
from dashpot.texts.encoder import OPTIONS
from dashpot.texts.token_table import TokenTable, token_table


class TextEncoder(nn.Module):
    r"""An encoder that is trained further: :math:`W\,(\mathrm{pool}(\mathrm{encoder}(t)) - \mu) / \sigma + b`.

    A row begins with numbers of tokens (:class:`dashpot.data.texts.tokenized.Tokenized`); the words behind them are not
    looked at. The dropout before the head is at rate 0 until a recipe sets it; those inside of the encoder have the
    rates of its configuration. :math:`\mu` and :math:`\sigma` are of the vectors before training. Trained by
    :func:`dashpot.fit` and by searches, the encoder has a smaller learning rate than the head (``pretrained``).

    Args:
        outputs: logits.
        before: numbers of tokens in front of a row.
        encoder: ``{"config": ..., "pool": ...}``, the configuration as plain JSON, and ``"mean"`` or ``"cls"``.

    Raises:
        ConfigError: a configuration that the installed package ``transformers`` does not know, or no such package.

    Example:
        >>> import torch
        >>> small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        >>> config = {"model_type": "bert", "vocab_size": 20, "max_position_embeddings": 16, **small}
        >>> net = TextEncoder(outputs=2, before=4, encoder={"config": config, "pool": "mean"})
        >>> net(torch.tensor([[3, 5, 2, 0], [0, 0, 0, 0]])).shape
        torch.Size([2, 2])

    Paper: Devlin, Chang, Lee and Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding", NAACL 2019.

    When not to use it: where there is no time for some epochs; the vectors of the encoder as it is need one pass.
    """

    mixes_at = (("dropout",),)
    pretrained: Mapping[str, float] = {"encoder": 0.02}
    """Parts that were trained before, and the share of the learning rate that their last stage has."""
    mean: Tensor
    std: Tensor

    def __init__(self, outputs: int, *, before: int, encoder: Mapping[str, Any]) -> None:
        super().__init__()
        outputs, before = check_whole("outputs", outputs), check_whole("before", before)
        if not isinstance(encoder, Mapping) or not isinstance(encoder.get("config"), Mapping):
            raise ConfigError("encoder", "a mapping with config and pool", encoder)
        config, pool = dict(encoder["config"]), OPTIONS["pool"].check("pool", encoder.get("pool", "mean"))
        self.options: dict[str, Any] = {
            "outputs": outputs,
            "before": before,
            "encoder": {"config": config, "pool": pool},
        }
        self.before, self.pool = before, pool
        self.token_table: TokenTable | None = None
        self.encoder = transformer.empty_model(config)
        words = self.encoder.get_input_embeddings()  # type: ignore[operator]  # as every model of transformers
        self.embeds_at = tuple(name for name, module in self.named_modules() if module is words)
        for module in self.encoder.modules():
            if isinstance(module, nn.Embedding) and module is not words:
                module.__dict__["of_places"] = True  # positions and the like are no words
        width = transformer.width_of(self.encoder.config)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(width, outputs)

    @property
    def wordless(self) -> str | None:
        """Why techniques on words cannot act on it; None where they can."""
        return "tokens of a tokenizer that is not known here" if self.token_table is None else None

    @torch.no_grad()
    def read_encoder(self, parts: transformer.Parts, mean: Sequence[float], std: Sequence[float]) -> None:
        """Start from the weights of an encoder.

        Args:
            parts: the encoder and its tokenizer.
            mean, std: of each number of its vectors.

        Raises:
            DataError: it is of another shape.
        """
        try:
            self.encoder.load_state_dict(transformer.weights_of(parts))
        except RuntimeError as error:
            said = str(error).splitlines()[-1].strip()
            raise DataError(f"an encoder must have the weights of the network, got others: {said}") from error
        self.mean.copy_(torch.tensor(mean))
        self.std.copy_(torch.tensor(std))
        self.token_table = token_table(parts.tokenizer)

    def forward(self, x: Tensor) -> Tensor:
        """Rows [batch, before and more] to [batch, outputs]."""
        out: Tensor = self.head(self.dropout(self.features(x)))
        return out

    def features(self, x: Tensor) -> Tensor:
        """Of each row the vector of its text, [batch, width], less the mean and divided by the deviation."""
        ids = x[:, : self.before].long()
        ids = ids[:, : max(1, int((ids > 0).any(dim=0).sum()))]
        if not len(ids):
            return self.head.weight.new_zeros(0, self.head.in_features)
        return (transformer.pooled(self.encoder, ids, self.pool) - self.mean) / self.std
