"""Conversion between the two conventions of rotary position embedding."""

import numpy as np


def pairs_to_halves(w: np.ndarray, n_heads: int) -> np.ndarray:
    """Reorder the rows of a query or key matrix from RoPE in pairs to RoPE in halves.

    One convention rotates coordinates (2i, 2i + 1) of a head together, transformers rotates
    (i, i + d/2). Moving the even rows of each head before its odd rows turns one into the other;
    attention scores, sums over a head's coordinates, stay the same.

    Parameters
    ----------
    w : (n_heads · d, in)
    n_heads : number of heads in ``w``

    Returns
    -------
    (n_heads · d, in)

    Examples
    --------
    >>> pairs_to_halves(np.arange(8).reshape(8, 1), n_heads=2).ravel().tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    return w.reshape(n_heads, -1, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
