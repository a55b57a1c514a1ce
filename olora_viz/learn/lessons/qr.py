"""Lesson: QR in pictures."""

from __future__ import annotations

import torch

from olora_viz.initializers.olora import olora
from olora_viz.learn.lessons.example import example_matrix
from olora_viz.learn.lessons.lesson import Lesson
from olora_viz.machine.numbers import percent


def lesson() -> Lesson:
    """Write the lesson, with numbers computed from the example matrix."""
    W = example_matrix()
    out, features = W.shape
    start = olora(W, 2)
    kept = start.B @ start.A
    exact = float((kept - W)[:, :2].abs().max()) < 1e-6
    columns = "are reproduced exactly" if exact else "are nearly reproduced"
    energy = float(kept.square().sum() / W.square().sum())
    straight = float((start.B.T @ start.B - torch.eye(2)).abs().max())
    right_angles = "orthogonal" if straight < 1e-6 else "nearly orthogonal"
    return Lesson(
        name="qr",
        title="QR in pictures",
        minutes=3,
        paragraphs=(
            f"The picture shows a matrix $W$ with {out} outputs and {features} inputs. Go through "
            "its columns from the left. The first column gives a direction. From each further "
            "column, take the part orthogonal to the directions so far. Normalized, these "
            f"directions are the columns of $Q$. They are {right_angles}. $R$ holds the "
            "coefficients of every column of $W$ in these directions.",
            f"Keep the first $r$ directions. With rank {start.B.shape[1]}, the first "
            f"{start.B.shape[1]} columns of $W$ {columns}; of the others, only the part in the "
            "same plane is kept. The remainder is called rest in the picture. Here $Q_r R_r$ "
            f"captures {percent(energy)} of $\\|W\\|^2$.",
            "OLoRA (Büyükakyüz) initializes the adapter with these factors: $B^0$ is $Q_r$, $A^0$ "
            "is $R_r$. This does not need the full factorization: the thin QR of the first $r$ "
            "columns is enough, and $R_r$ is $Q_r^{\\top} W$.",
        ),
        formulas=(r"W = Q R, \qquad B^0 = Q_r, \qquad A^0 = R_r = Q_r^{\top} W",),
        do="Move the rank slider below the picture.",
        see="With every rank, one more column of the rest becomes zero, from the left: that column "
        "is now exact. The other columns lose only their component in the new direction.",
        page="learn",
        picture="qr",
    )
