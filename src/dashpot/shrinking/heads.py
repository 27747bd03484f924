"""``HeadsAttention``: ``nn.MultiheadAttention`` with fewer heads than its features would make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.errors import UsageError

READ = "its weights of attention are read, over all heads"
"""Why heads stay."""


class HeadsAttention(nn.MultiheadAttention):
    """``nn.MultiheadAttention`` some of whose heads, or of whose features, left: torch's own computes the width of a
    head from the number of features, and takes as many features as it has in all heads.

    Called as torch's, with tensors of the same shapes, padded, masked and nested ones, too, and with the same
    parameters: ``in_proj_weight`` [3 x heads x width, features] (or three of them), ``out_proj.weight``
    [features, heads x width]. Weights of attention are those of its own heads, averaged or each. No constructor makes
    one: a cut does, from a module of torch.

    When not to use it: with a mask of each head (``attn_mask`` [batch x heads, ...]) made for all heads; it must be
    made for those that are left.

    Example:
        >>> import torch, dashpot
        >>> attention = torch.nn.MultiheadAttention(8, 4, batch_first=True)
        >>> with torch.no_grad():
        ...     _ = attention.out_proj.weight[:, 2:6].zero_()
        >>> wrapped = torch.nn.TransformerEncoderLayer(8, 4, 16, batch_first=True)
        >>> wrapped.self_attn = attention
        >>> small = dashpot.shrink(wrapped, torch.randn(2, 3, 8)).model.self_attn
        >>> type(small).__name__, small.num_heads, tuple(small.in_proj_weight.shape)
        ('HeadsAttention', 2, (12, 8))
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As of ``nn.MultiheadAttention``."""
        if query.is_nested:
            return self._nested(query, key, value, key_padding_mask, attn_mask)
        if is_causal and attn_mask is None:
            raise UsageError("is_causal says of attn_mask that it is causal: pass attn_mask, too.")
        alone = query.dim() == 2
        q, k, v = self._projected(query, key, value)
        if alone:
            q, k, v = q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)
        more = 0
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(len(k), 1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(len(v), 1, -1)], 1)
            more += 1
        if self.add_zero_attn:
            k, v = functional.pad(k, (0, 0, 0, 1)), functional.pad(v, (0, 0, 0, 1))
            more += 1
        mask = self._mask(attn_mask, key_padding_mask, q, more)
        q, k, v = (part.view(*part.shape[:2], -1, self.head_dim).transpose(1, 2) for part in (q, k, v))
        made, weights = self._attend(q, k, v, mask, need_weights)
        out = functional.linear(made.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if alone:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return (out if self.batch_first else out.transpose(0, 1)), weights

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> Iterable[Tensor]:
        """Queries, keys and values of all heads."""
        if self.in_proj_weight is not None and query is key and key is value:
            return functional.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        own = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        weights = own if self.in_proj_weight is None else self.in_proj_weight.chunk(3)
        biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return [functional.linear(*part) for part in zip((query, key, value), weights, biases, strict=True)]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, read: bool) -> tuple[Tensor, Tensor | None]:
        """What heads give, [batch, heads, queries, width], and, if they are ``read``, their weights."""
        rate = self.dropout if self.training else 0.0
        if not read:
            return functional.scaled_dot_product_attention(q, k, v, mask, rate), None
        scores = torch.matmul(q * self.head_dim**-0.5, k.transpose(-2, -1))
        weights = functional.softmax(scores if mask is None else scores + mask, -1)
        if rate:
            weights = functional.dropout(weights, rate)
        return torch.matmul(weights, v), weights

    def _mask(self, attn_mask: Tensor | None, padding: Tensor | None, q: Tensor, more: int) -> Tensor | None:
        """What is added to scores, [batch or 1, heads or 1, queries or 1, keys]; the last keys, of no input, count."""
        total: Tensor | None = None
        if attn_mask is not None:
            total = _added(attn_mask, q)
            if total.dim() == 3 and len(total) != len(q) * self.num_heads:
                raise UsageError(
                    f"attn_mask has {len(total)} masks for {len(q)} samples and {self.num_heads} heads. Other heads"
                    " left when the network was made smaller: give a mask [queries, keys], or one for each of these."
                )
            total = total[None, None] if total.dim() == 2 else total.reshape(len(q), -1, *total.shape[-2:])
        if padding is not None:
            own = _added(padding, q)[:, None, None, :]
            total = own if total is None else total + own
        return functional.pad(total, (0, more)) if more and total is not None else total

    def _nested(
        self, query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, attn_mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Sequences of several lengths, as torch's encoder makes of padded ones in evaluation."""
        if query is not key or key is not value or padding is not None or attn_mask is not None or not self.batch_first:
            raise UsageError("nested tensors are taken for attention to themselves only, batch first, without masks.")
        x = torch.nested.to_padded_tensor(query, 0.0)
        lengths = torch.tensor([len(part) for part in query.unbind()], device=x.device)
        there = torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1)
        out, _ = self.forward(x, x, x, ~there, need_weights=False)
        return torch._nested_tensor_from_mask(out, there, mask_check=False), None


class TracedAttention(HeadsAttention):
    """For looking at one: what heads give goes one way, their weights another, which nobody need read."""

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, read: bool) -> tuple[Tensor, Any]:
        given = functional.scaled_dot_product_attention(q, k, v, mask)
        return given, super()._attend(q, k, v, mask, True)[1] if read else None


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers that are added to scores; of a bool one, True is what is not seen."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros((), dtype=like.dtype, device=like.device).masked_fill(mask, float("-inf"))


def is_attention(module: nn.Module) -> bool:
    """Whether it is torch's own, or one that was made smaller; other classes of it have a forward that nobody knows."""
    return type(module) in (nn.MultiheadAttention, HeadsAttention)


def become(module: nn.Module, kind: type[HeadsAttention] = HeadsAttention) -> None:
    """Make a module of torch one of ours, in place, of the sizes that its parameters have now."""
    assert isinstance(module, nn.MultiheadAttention)
    if type(module) is not kind:
        module.__class__ = kind
    # Torch's layers compute the attention themselves in evaluation, unless it has weights of several widths.
    module._qkv_same_embed_dim = False
    packed = module.in_proj_weight
    if packed is not None:
        rows, module.embed_dim = len(packed) // 3, packed.shape[1]
        module.kdim = module.vdim = module.embed_dim
    else:
        rows, module.embed_dim = module.q_proj_weight.shape
        module.kdim, module.vdim = module.k_proj_weight.shape[1], module.v_proj_weight.shape[1]
    module.num_heads = rows // module.head_dim
