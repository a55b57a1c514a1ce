"""Claim: the singular values of Q_rR_r are a subset of those of W."""

from __future__ import annotations

from collections.abc import Iterable

from olora_viz.measures.truncation import Truncation
from olora_viz.studies.claims.claim import FAILS, HOLDS, MIXED, OLORA_PAPER, Bar, Claim, Finding


def judge(layers: Iterable[Truncation]) -> Finding:
    """Count the layers and ranks in which it is so; of each, no more than these numbers is kept."""
    rows = [
        (each.rank, each.subset, each.bounded, float(each.distance.max()), float(each.sigma_W[0])) for each in layers
    ]
    ranks, subsets, bounds, distances, largest = zip(*rows, strict=True)
    total, subset, bounded, off = len(rows), sum(subsets), sum(bounds), max(distances)
    worst = distances.index(off)
    return Finding(
        verdict=HOLDS if subset == total else MIXED if subset else FAILS,
        words=(
            f"In {subset} of {total} layers × ranks ({', '.join(map(str, dict.fromkeys(ranks)))}) they are a subset; "
            f"in {bounded} they are bounded by those of W, index by index. The farthest value, of rank "
            f"{ranks[worst]}, is {off:.2g} away from every singular value of W, whose largest is {largest[worst]:.3g}."
        ),
        numbers={"layers": total, "subset": subset, "bounded": bounded, "farthest": off},
        bars=(Bar("bounded", bounded), Bar("subset", subset)),
        unit=f"of {total} layers × ranks",
    )


CLAIM = Claim(
    number=1,
    name="subset",
    sentence="The singular values of Q_rR_r are a subset of those of W.",
    source=f"{OLORA_PAPER}, on the QR decomposition",
    measured=(
        "Both are decomposed in float64, for every layer at several ranks. A projection of W is "
        "bounded by W's singular values, index by index; a subset needs equality."
    ),
    judge=lambda evidence: judge(evidence.truncations()),
    of_weights=True,
)
