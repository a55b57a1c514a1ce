"""The initializations of an adapter: one pure function per file, and the table that lists them.

Every initialization is `(W, r, *, s, generator, calibration) → Start(A, B)`. To add one, write its
file and its entry below; tests, command line, pages and plots read the table.
"""

from olora_viz.initializers.calibration import Calibration, lacking
from olora_viz.initializers.corda import corda
from olora_viz.initializers.eva import eva
from olora_viz.initializers.gaussian import gaussian
from olora_viz.initializers.lora import lora
from olora_viz.initializers.lora_ga import lora_ga
from olora_viz.initializers.lora_one import lora_one
from olora_viz.initializers.mica import mica
from olora_viz.initializers.milora import milora
from olora_viz.initializers.olora import olora
from olora_viz.initializers.olora_pivoted import olora_pivoted
from olora_viz.initializers.orthogonal import orthogonal
from olora_viz.initializers.pissa import pissa
from olora_viz.initializers.pissa_fast import pissa_fast
from olora_viz.initializers.random_orthonormal import random_orthonormal
from olora_viz.initializers.sketch import sketch
from olora_viz.initializers.start import Initializer, Start, StartFunction, check_rank

INITIALIZERS: dict[str, Initializer] = {
    entry.name: entry
    for entry in (
        Initializer(
            name="lora",
            label="LoRA",
            start=lora,
            summary="A is uniformly random and B is zero, so the first step moves B alone.",
            source="Hu et al. 2021, arXiv 2106.09685",
            random=True,
            zero_product=True,
        ),
        Initializer(
            name="gaussian",
            label="LoRA, Gaussian A",
            start=gaussian,
            summary="A is Gaussian with standard deviation 1/r and B is zero.",
            source="Hu et al. 2021, arXiv 2106.09685",
            random=True,
            zero_product=True,
        ),
        Initializer(
            name="olora",
            label="OLoRA",
            start=olora,
            summary="B is an orthonormal basis of the first r columns of W; A is W in that basis.",
            source="Büyükakyüz 2024, arXiv 2406.01775",
            nested=True,
        ),
        Initializer(
            name="olora_pivoted",
            label="OLoRA, pivoted",
            start=olora_pivoted,
            summary="OLoRA on the r columns of W that a column-pivoted QR picks.",
            source="Businger and Golub 1965, Numerische Mathematik 7, on arXiv 2406.01775",
            nested=True,
        ),
        Initializer(
            name="random_orthonormal",
            label="Random basis",
            start=random_orthonormal,
            summary="OLoRA on a random orthonormal basis, independent of W: a control.",
            source="Mezzadri 2007, arXiv math-ph/0609050",
            random=True,
            nested=True,
        ),
        Initializer(
            name="sketch",
            label="Sketch",
            start=sketch,
            summary="OLoRA on r random mixtures of all the columns of W: a control.",
            source="Halko, Martinsson, Tropp 2011, arXiv 0909.4061",
            random=True,
            nested=True,
        ),
        Initializer(
            name="pissa",
            label="PiSSA",
            start=pissa,
            summary="A and B share the r largest singular triplets of W.",
            source="Meng, Wang, Zhang 2024, arXiv 2404.02948",
            nested=True,
        ),
        Initializer(
            name="pissa_fast",
            label="PiSSA, fast",
            start=pissa_fast,
            summary="PiSSA with a randomized SVD.",
            source="Meng, Wang, Zhang 2024, arXiv 2404.02948",
            random=True,
        ),
        Initializer(
            name="milora",
            label="MiLoRA",
            start=milora,
            summary="A and B share the r smallest singular triplets of W.",
            source="Wang et al. 2024, arXiv 2406.09044",
            nested=True,
        ),
        Initializer(
            name="orthogonal",
            label="Orthogonal",
            start=orthogonal,
            summary="A and B are random and non-zero, and their product is zero; r must be even.",
            source="datta0.github.io/posts/rethink-lora-init, as in PEFT",
            random=True,
            zero_product=True,
        ),
        Initializer(
            name="lora_ga",
            label="LoRA-GA",
            start=lora_ga,
            summary="A and B take different singular vectors of the gradient of W.",
            source="Wang, Yu, Li 2024, arXiv 2407.05000",
            needs="gradient",
            vectors=2,
        ),
        Initializer(
            name="lora_one",
            label="LoRA-One",
            start=lora_one,
            summary="A and B share the r largest singular triplets of the negative gradient of W.",
            source="Zhang, Liu, Chen 2025, arXiv 2502.01235",
            nested=True,
            needs="gradient",
        ),
        Initializer(
            name="eva",
            label="EVA",
            start=eva,
            summary="A holds the r principal components of the inputs of W; B is zero.",
            source="Paischer et al. 2024, arXiv 2410.07170",
            nested=True,
            zero_product=True,
            needs="inputs",
        ),
        Initializer(
            name="corda",
            label="CorDA",
            start=corda,
            summary="A and B share the principal directions of W, weighted by its inputs.",
            source="Yang et al. 2024, arXiv 2406.05223",
            nested=True,
            needs="inputs",
        ),
        Initializer(
            name="mica",
            label="MiCA",
            start=mica,
            summary="B is frozen at the last r left singular vectors of W; A starts at zero.",
            source="Rüdiger, Raschka 2026, arXiv 2604.01694",
            nested=True,
            zero_product=True,
            frozen_B=True,
        ),
    )
}

__all__ = [
    "INITIALIZERS",
    "Calibration",
    "Initializer",
    "Start",
    "StartFunction",
    "check_rank",
    "corda",
    "eva",
    "gaussian",
    "lacking",
    "lora",
    "lora_ga",
    "lora_one",
    "mica",
    "milora",
    "olora",
    "olora_pivoted",
    "orthogonal",
    "pissa",
    "pissa_fast",
    "random_orthonormal",
    "sketch",
]
