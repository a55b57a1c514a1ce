"""Claim: the singular values of Q_rR_r are a subset of those of W."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from olora_viz.measures.truncation import Truncation
from olora_viz.studies.claims.claim import FAILS, HOLDS, MIXED, OLORA, Bar, Claim, Finding


def judge(by_rank: Mapping[int, Sequence[Truncation]]) -> Finding:
    """Count the layers in which it is so."""
    layers = list(chain(*by_rank.values()))
    subset = sum(layer.subset for layer in layers)
    bounded = sum(layer.bounded for layer in layers)
    worst = max(layers, key=lambda layer: float(layer.distance.max()))
    off = float(worst.distance.max())
    ranks = ", ".join(map(str, by_rank))
    return Finding(
        verdict=HOLDS if subset == len(layers) else MIXED if subset else FAILS,
        words=(
            f"In {subset} of {len(layers)} layers × ranks ({ranks}) they are a subset; in {bounded} they are bounded "
            f"by those of W, index by index. The farthest value, of rank {worst.rank}, is {off:.2g} away from every "
            f"singular value of W, whose largest is {float(worst.sigma_W[0]):.3g}."
        ),
        numbers={"layers": len(layers), "subset": subset, "bounded": bounded, "farthest": off},
        bars=(Bar("bounded", bounded), Bar("subset", subset)),
        unit=f"of {len(layers)} layers × ranks",
    )


CLAIM = Claim(
    number=1,
    name="subset",
    sentence="The singular values of Q_rR_r are a subset of those of W.",
    source=f"{OLORA}, on the QR decomposition",
    measured=(
        "Both are decomposed in float64, for every layer at several ranks. A projection of W is "
        "bounded by W's singular values, index by index; a subset needs equality."
    ),
    judge=lambda evidence: judge(evidence.truncations),
    of_weights=True,
)
