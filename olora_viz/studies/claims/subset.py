"""Claim: the singular values of Q_rR_r are a subset of those of W."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from olora_viz.measures.truncation import Truncation
from olora_viz.studies.claims.claim import FAILS, HOLDS, MIXED, OLORA, Bar, Claim, Finding
from olora_viz.studies.claims.evidence import ClaimEvidence


def judge(found: Mapping[int, Sequence[Truncation]]) -> Finding:
    """Count the layers in which it is so.

    Args:
        found: Q_rR_r against W for every layer, by rank.
    """
    every = [one for each in found.values() for one in each]
    subset = sum(one.subset for one in every)
    bounded = sum(one.bounded for one in every)
    worst = max(every, key=lambda one: float(one.distance.max()))
    off = float(worst.distance.max())
    ranks = ", ".join(map(str, found))
    return Finding(
        verdict=HOLDS if subset == len(every) else MIXED if subset else FAILS,
        words=(
            f"In {subset} of {len(every)} layers × ranks ({ranks}) they are a subset; in {bounded} "
            f"they are bounded by those of W, index by index. The farthest value, of rank "
            f"{worst.rank}, is {off:.2g} away from every singular value of W, whose largest is "
            f"{float(worst.sigma_W[0]):.3g}."
        ),
        numbers={"layers": len(every), "subset": subset, "bounded": bounded, "farthest": off},
        bars=(Bar("bounded", bounded), Bar("subset", subset)),
        unit=f"of {len(every)} layers × ranks",
    )


def measure(evidence: ClaimEvidence) -> Finding:
    """Judge the claim on a model's weights."""
    return judge(evidence.truncations)


CLAIM = Claim(
    number=1,
    name="subset",
    sentence="The singular values of Q_rR_r are a subset of those of W.",
    source=f"{OLORA}, on the QR decomposition",
    measured=(
        "Both are decomposed in float64, for every layer at several ranks. A projection of W is "
        "bounded by W's singular values, index by index; a subset needs equality."
    ),
    judge=measure,
    of_weights=True,
)
