"""The text of the Spectrum page: a verdict, tables and sentences from the measured numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from olora_viz.initializers import label_of
from olora_viz.machine.numbers import percent
from olora_viz.measures.truncation import Truncation
from olora_viz.views.html import Cell, table


def verdict(olora: Truncation) -> Markup:
    """Return the paper's claim and the verdict for this weight and rank."""
    i = olora.worst
    sigma = float(olora.sigma_BA[i])
    if olora.subset:
        found = Markup("Each σᵢ(Q<sub>r</sub>R<sub>r</sub>) is one of W's, to rounding.")
    else:
        above = [x for x in olora.sigma_W.tolist() if x > sigma]
        below = [x for x in olora.sigma_W.tolist() if x <= sigma]
        between = (
            f"lies between W's {_n(above[-1])} and {_n(below[0])}"
            if above and below
            else "is beyond those of W"
        )
        found = Markup(
            "OLoRA's {} value, {}, {}; the nearest is {} away. Q<sub>r</sub>R<sub>r</sub> = "
            "Q<sub>r</sub>Q<sub>r</sub>ᵀW is a projection of W: its values can only shrink, and "
            "need not equal those of W."
        ).format(_nth(i + 1), _n(sigma), between, f"{float(olora.distance[i]):.2g}")
    claims = [
        ("bounded by σᵢ(W)", _holds(olora.bounded)),
        ("a subset of σ(W)", _holds(olora.subset)),
    ]
    return Markup(
        "<h2>The paper's claim, on this matrix</h2>"
        '<p class="say">“The singular values of Q<sub>r</sub>R<sub>r</sub> are a subset of those '
        "of W.”</p>"
        '{}<p class="hint">{}</p>'
    ).format(table((), claims, kind="verdict"), found)


def energies(found: Sequence[Truncation], unpermuted: Truncation | None) -> Markup:
    """Return the table of the energy each start captures, the highest first.

    Parameters
    ----------
    unpermuted : OLoRA's start in W's own order of columns, if they are permuted.
    """
    first = found[0]
    best = first.energy_optimal
    rows = [("SVD, the optimum", "pissa", best)]
    permuted = ", permuted" if unpermuted else ""
    rows += [
        (label_of(one.init) + (permuted if one.init == "olora" else ""), one.init, one.energy)
        for one in found
        if one.init != "pissa"
    ]
    if unpermuted:
        rows.append(("OLoRA, W's own order", "olora", unpermuted.energy))
    rows.sort(key=lambda row: -row[2])
    shares = [(_start(init, label), *_shares(energy, best)) for label, init, energy in rows]
    return Markup("<h2>How much of W does it keep?</h2>") + table(
        (f"start, rank {first.rank}", "energy", "of best"),
        shares,
        kind="standing",
        base=[("random, expected", *_shares(first.energy_random, best))],
    )


def factors(found: Sequence[Truncation]) -> Markup:
    """Return the table of how each start's factors are conditioned."""
    condition = "largest over smallest singular value"
    head = (
        "start",
        Cell("eff. rank", "exp of the entropy of the singular values of BA"),
        Cell("cond A", condition),
        Cell("cond B", condition),
        Cell("‖BᵀB−I‖", "how far B is from orthonormal columns"),
    )
    rows = [
        (
            _start(one.init, label_of(one.init)), f"{one.effective_rank:.1f}",
            _ratio(one.condition_A), _ratio(one.condition_B),
            f"{0.0 if one.orthogonality_error < 1e-9 else one.orthogonality_error:.2g}",
        )
        for one in found
    ]  # fmt: skip
    return Markup(
        '<h2>What does it start from? <span class="hint">conditioning of the factors</span></h2>'
    ) + table(head, rows, kind="standing")


def seeing(found: Mapping[str, Truncation], permuted: bool) -> Markup:
    """Return a few sentences on what the charts show."""
    olora = found["olora"]
    share = olora.energy / olora.energy_optimal
    said: list[str] = [
        Markup(
            "OLoRA keeps <b>{} of what rank {} could keep</b>, {} a random basis ({})."
        ).format(
            percent(share), olora.rank, _compare(olora.energy, olora.energy_random),
            percent(olora.energy_random / olora.energy_optimal),
        )
    ]  # fmt: skip
    if "sketch" in found:
        other = found["sketch"].energy
        said.append(
            f"A random mixture of all columns keeps {percent(other / olora.energy_optimal)}: "
            + (
                "taking the first columns adds nothing here."
                if olora.energy < 1.05 * other
                else "the first columns keep more here."
            )
        )
    if olora.angles is not None:
        near, far = float(olora.angles[0]), float(olora.angles[-1])
        said.append(
            Markup(
                "Its nearest direction to W's top {} is <b>{:.0f}°</b> away, its farthest {:.0f}°."
            ).format(olora.rank, near, far)
            if olora.rank > 1
            else Markup("Its direction is <b>{:.0f}°</b> away from W's top one.").format(near)
        )
    foot = (
        "The columns are permuted. The singular values of W and the start of pivoted QR do not "
        "change, since they depend on all columns. OLoRA takes the first ones, so its start does."
        if permuted
        else "OLoRA takes the first r columns of W, but their order is arbitrary: permute them."
    )
    return Markup('<h2>What you are seeing</h2><p class="say">{}</p><p class="foot">{}</p>').format(
        Markup(" ").join(said), foot
    )


def _start(init: str, label: str) -> Markup:
    """Return a row's head: a start's mark and its label."""
    return Markup('<span class="mark solid" style="--lane:var(--{})"></span>{}').format(init, label)


def _shares(energy: float, best: float) -> tuple[str, str]:
    """Return an energy, and its share of the best one."""
    return percent(energy, 1), percent(energy / best)


def _compare(energy: float, random: float) -> str:
    if energy < 0.9 * random:
        return "less than"
    return "as much as" if energy <= 1.1 * random else "more than"


def _holds(yes: bool) -> Markup:
    kind, word = ("ok", "holds") if yes else ("no", "fails")
    return Markup('<span class="pill {}">{}</span>').format(kind, word)


def _ratio(x: float) -> str:
    return f"{x:.3g}" if x < 1e6 else "∞"


def _nth(n: int) -> str:
    if n == 1:
        return "largest"
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def _n(x: float) -> str:
    return f"{x:.4g}"
