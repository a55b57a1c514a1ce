"""CorDA's other mode: the directions of W that its inputs use least."""

from torch import Generator

from olora_viz.initializers.corda import weighted_triplets
from olora_viz.initializers.start import Calibration, Initializer, Matrix, Start


def corda_kpm(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start from the last r singular triplets of W C, with C the second moment of the inputs.

    As `corda`, but with the r smallest of the min(out, in) triplets, the smallest first: `s B⁰A⁰ = U_m U_mᵀ W`, where
    `U_m (out, r)` holds the last left singular vectors of `W C`. What stays frozen is then the best approximation of
    `W C` of rank min(out, in) − r. This is the paper's knowledge-preserved mode.

    The authors read the inputs from data whose knowledge is to be kept, such as questions and answers about the world.
    Here they are those of the first batches of the race, not of its text to keep, so the adapter starts where the
    task's own inputs are weakest, which is not what the method was made for. To start from other data, pass their
    statistics as `calibration` to `attach`.

    Where a singular value is zero (W is rank-deficient), its row of A and its column of B are zero too. They are
    finite, but such a component never learns: each factor's gradient is proportional to the other.

    References:
        Yang et al. 2024, arXiv 2406.05223; PEFT's `CordaConfig(corda_method="kpm")`.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> spread = torch.diag(torch.tensor([0.0, 2.0]))
        >>> seen = ov.Calibration(mean=torch.zeros(2), covariance=spread)
        >>> start = ov.corda_kpm(torch.diag(torch.tensor([9.0, 4.0])), r=1, calibration=seen)
        >>> (start.B @ start.A).round(decimals=4)  # the inputs do not excite the larger one
        tensor([[9., 0.],
                [0., 0.]])
    """
    return weighted_triplets(W, r, s, calibration, "corda_kpm", range(-1, -1 - r, -1))


INITIALIZER = Initializer(
    name="corda_kpm",
    label="CorDA KPM",
    start=corda_kpm,
    short="minor directions, by inputs",
    summary="A and B share the minor directions of W, weighted by its inputs.",
    source="Yang et al. 2024, arXiv 2406.05223",
    color=("#003070", "#b09000"),
    place=19,
    nested=True,
    needs="inputs",
)
