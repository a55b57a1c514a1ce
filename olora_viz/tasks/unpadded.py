"""Training passes without padding: what follows the last supervised token of a row is not computed.

All layers but attention treat each token by itself. So the rows of a lane follow one another, and attention alone sees
them as rows again, in float32 or better. On a file of questions a quarter of a batch is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from olora_viz.tasks.batches import Batch


def needed(batch: Batch) -> Int64[Tensor, " n"]:
    """Return the positions in the flattened (rows · tokens) of all tokens up to each row's last supervised one.

    Those of tokens that are taken from other rows, see `Batch.first`, are left out.

    >>> from olora_viz.tasks.batches import collate
    >>> from olora_viz.tasks.encoding import Encoded
    >>> needed(collate([Encoded((5, 6, 7), 2), Encoded((8, 9), 1)], pad_id=0)).tolist()
    [0, 1, 2]
    """
    rows, tokens = batch.input_ids.shape
    row, place = batch.index // tokens, batch.index % tokens
    ends = batch.index.new_zeros(rows).scatter_reduce_(0, row, place + 1, "amax")
    positions = (torch.arange(tokens, device=ends.device) < ends[:, None]).flatten().nonzero().flatten()
    return positions if batch.first is None else batch.first.flatten()[positions].unique()


TOKENS_ALIKE = 16
"""Lanes that are alike have the same bits if each begins at a multiple of so many tokens: what is left over of a block
of rows is computed by other code."""


class Unpadded:
    """Where the tokens of K lanes are, with padding and without.

    Every lane has the same number of tokens, a multiple of `TOKENS_ALIKE`: those that it lacks repeat its first, so
    that they hold no NaN that its own do not hold. They have no gradient.

    Args:
        shape: lanes, rows of a lane, and tokens of a row, with padding.
        positions: for each lane those of its tokens in its (rows · tokens); the same tensor for all lanes if they
            share a batch.
        first: (K, rows · tokens) `Batch.first` of each lane, if a lane's tokens are shared by its rows.
        dtype: of attention, if not float32 or better: in bfloat16 it takes a CPU twice as long.

    Attributes:
        places: (K or 1, n) the positions of the tokens in their lane's (rows · tokens).
        sources: (K · rows · tokens) for each position the index of its token among the K · n; where padding is left
            out, that of the lane's first token.
    """

    def __init__(
        self, shape: tuple[int, int, int], positions: Sequence[Tensor], dtype: torch.dtype | None = None,
        first: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.shape, self.dtype = shape, dtype
        K, rows, tokens = shape
        size, n = rows * tokens, -(-max(map(len, positions)) // TOKENS_ALIKE) * TOKENS_ALIKE
        alike = all(own is positions[0] for own in positions)
        each = positions[:1] if alike else positions
        self.places = torch.stack([torch.cat([own, own[:1].expand(n - len(own))]) for own in each])
        lanes = torch.arange(K, device=self.places.device)
        is_own = (torch.arange(n) < torch.tensor([len(own) for own in positions])[:, None]).flatten().to(lanes.device)
        self._flat = (self.places + lanes[:, None] * size).flatten()
        self.sources = (lanes * n).repeat_interleave(size)  # zero times a NaN of another lane would be NaN
        self.sources[self._flat[is_own]] = is_own.nonzero().flatten()
        is_padding = torch.ones_like(self.sources, dtype=torch.bool)
        is_padding[self._flat] = False
        self._repeats, self._padding = (where.nonzero().flatten() for where in (~is_own, is_padding))
        self._shared = None
        if first is not None:
            taken = (first + lanes[:, None] * size).flatten()
            self.sources = self.sources[taken]
            self._shared = (taken != torch.arange(len(taken), device=taken.device)).nonzero().flatten()

    def logits(self, model: nn.Module, ids: Int64[Tensor, "K size"]) -> Tensor:
        """Run a model for which `can_unpad` holds on the tokens without padding; its head sees (K, n, features).

        Args:
            ids: of every lane, (rows · tokens), with padding.
        """
        # Masks of four dimensions reach the attention of all layers as they are, and ours needs none.
        none = torch.zeros(1, 1, 1, 1, device=ids.device)
        return model(
            input_ids=ids.gather(1, self.places.expand(len(ids), -1)),
            position_ids=self.places % self.shape[2],
            attention_mask=none,
            unpadded=self,
            use_cache=False,
        ).logits

    def as_rows(self, X: Float[Tensor, "K heads n d"]) -> Float[Tensor, "rows heads tokens d"]:
        """Return the heads of tokens as those of all lanes' rows."""
        K, heads, n, d = X.shape
        tokens = X.transpose(1, 2).reshape(K * n, heads * d)
        rows = _Gathered.apply(tokens, self.sources, self._flat, self._repeats, self._shared)
        return rows.view(-1, self.shape[2], heads, d).transpose(1, 2)

    def as_tokens(self, Y: Float[Tensor, "rows tokens heads d"]) -> Float[Tensor, "K n heads d"]:
        """Return what attention adds up for all lanes' rows, without padding."""
        heads, d = Y.shape[2:]
        tokens = _Gathered.apply(Y.reshape(-1, heads * d), self._flat, self.sources, self._padding, None)
        return tokens.view(self.shape[0], -1, heads, d)


class _Gathered(torch.autograd.Function):
    """Rows of X `there`. The gradient of X is that of the result `back`, but zero for its rows without one.

    Tokens that repeat another have none, and padding, since no supervised token attends to it. The gradient of a row
    that several places in the result share is the sum of theirs, those `shared` beside the one `back`.
    """

    @staticmethod
    def forward(ctx: Any, X: Tensor, there: Tensor, back: Tensor, without: Tensor, shared: Tensor | None) -> Tensor:
        ctx.save_for_backward(there, back, without, shared)
        return X.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        there, back, without, shared = ctx.saved_tensors
        total = grads[0].index_select(0, back).index_fill_(0, without, 0.0)
        if shared is not None:
            total = total.index_add(0, there[shared], grads[0].index_select(0, shared))
        return total, None, None, None, None


@torch.no_grad()
def can_unpad(model: nn.Module) -> bool:
    """Whether to train a model without padding: on a CPU, and if two rows have the same bits one after the other.

    They have not if a model counts positions itself, or mixes tokens elsewhere than in transformers' attention. On a
    GPU steps of one width are faster.
    """
    config: Any = getattr(model, "config", None)
    if next(model.parameters()).device.type != "cpu" or getattr(config, "_attn_implementation", None) != "sdpa":
        return False
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None) or ()
    windows = (getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size"))
    if any(windows) or any(kind != "full_attention" for kind in kinds):
        return False  # two short rows would not show it
    _register()
    tokens = min(8, getattr(text, "max_position_embeddings", 0) or 8)
    ids = torch.arange(1, 2 * tokens + 1).view(2, tokens) % text.vocab_size
    unpadded = Unpadded((1, 2, tokens), [torch.arange(2 * tokens)], next(model.parameters()).dtype)
    try:
        rows = model(input_ids=ids, use_cache=False).logits
        return torch.equal(unpadded.logits(model, ids.view(1, -1))[:, : 2 * tokens], rows.view(1, 2 * tokens, -1))
    except Exception:  # a model of unknown origin can fail anywhere
        return False


def _register() -> None:
    """Let transformers' attention see rows in passes of `Unpadded`, and be what it was in all others."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

    theirs: Any = ALL_ATTENTION_FUNCTIONS["sdpa"]
    if getattr(theirs, "sees_rows", False):
        return

    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
        unpadded: Unpadded | None = None, **more: Any,
    ) -> tuple[Tensor, None]:  # fmt: skip
        if unpadded is None:
            return theirs(module, query, key, value, attention_mask, **more)
        dtype = unpadded.dtype or torch.promote_types(query.dtype, torch.float32)
        Y, weights = theirs(module, *(unpadded.as_rows(X).to(dtype) for X in (query, key, value)), None, **more)
        return unpadded.as_tokens(Y.to(query.dtype)), weights

    attention.sees_rows = True  # pyrefly: ignore[missing-attribute]
    AttentionInterface.register("sdpa", attention)
