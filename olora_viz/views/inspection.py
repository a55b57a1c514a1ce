"""An inspected adapter, or two that are compared, as a self-contained HTML page without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from olora_viz.figures import theme
from olora_viz.machine.numbers import number, percent
from olora_viz.measures.inspection import (
    DORA,
    LayerComparison,
    LayerInspection,
    LayerUpdate,
    total_cosine,
    total_norm,
)
from olora_viz.views.html import table

WIDTH, HEIGHT = 150, 34

COMPARED = (
    "layer", "‖ΔW₁‖", "‖ΔW₂‖", "effective rank 1", "effective rank 2", "cosine", "k",
    "left overlap", "right overlap",
)  # fmt: skip
"""The columns of a comparison."""


def comparison_page(
    adapter: str | Path,
    other: str | Path,
    base: str,
    found: Sequence[LayerComparison],
    notes: Sequence[str] = (),
) -> Markup:
    """Return the report on two adapters as HTML: a summary, both spectra of every layer, a legend.

    Parameters
    ----------
    notes : sentences on what is left out.
    """
    head, *rest = COMPARED
    rows = [
        (one.layer, _bars(one.first), _bars(one.second), *comparison_cells(one)[1:])
        for one in found
    ]
    return _PAGE_OF_TWO.format(
        adapter=adapter,
        other=other,
        base=Path(base).name,
        style=Markup(_STYLE),  # noqa: S704
        words=_paragraphs([*notes, *comparison_words(found)]),
        table=table((head, "σ(ΔW₁)", "σ(ΔW₂)", *rest), rows, scrolls=True),
    )


def comparison_cells(one: LayerComparison) -> list[str]:
    """Return the cells of `COMPARED` for one layer, as text."""
    both = one.first, one.second
    return [
        one.layer,
        *(number(its.norm if its else None) for its in both),
        *(number(its.effective_rank if its else None, ".2f") for its in both),
        number(one.cosine, ".3f"),
        str(one.leading) if one.leading else "–",
        number(one.left_overlap, ".3f"),
        number(one.right_overlap, ".3f"),
    ]


def comparison_words(found: Sequence[LayerComparison]) -> list[str]:
    """Return what a comparison says of all layers together, and how its numbers are read."""
    sides = {"first": [one.first for one in found], "second": [one.second for one in found]}
    chances = [one.chance for one in found if one.chance is not None]
    norms = " and ".join(f"{total_norm(side):.4g}" for side in sides.values())
    cosine = number(total_cosine(found), ".3f")
    words = [f"‖ΔW‖ over all layers: {norms}; the cosine of both: {cosine}"]
    if chances:
        chance = sum(chances) / len(chances)
        words.append(
            "overlap of the k leading left or right singular vectors: 1 for the same span; random "
            f"ones have {chance:.3f} on average"
        )
    for name, side in sides.items():
        if None in side:
            words.append(f"the {name} leaves out {side.count(None)} of {len(found)} layers")
    if any(one and one.magnitude_change is not None for side in sides.values() for one in side):
        words.append(DORA)
    return words


def page(
    adapter: str | Path, base: str, found: Sequence[LayerInspection], notes: Sequence[str] = ()
) -> Markup:
    """Return the report as HTML: a summary, a small spectrum of every layer, a legend.

    Parameters
    ----------
    notes : sentences on what is left out.
    """
    dora = any(one.magnitude_change is not None for one in found)
    intruded = sum(one.intruders > 0 for one in found)
    strongest = max(found, key=lambda one: one.relative_norm)
    share = sum(one.effective_rank for one in found) / sum(one.rank for one in found)
    return _PAGE.format(
        adapter=Path(adapter).name,
        base=Path(base).name,
        style=Markup(_STYLE),  # noqa: S704
        layers=len(found),
        norm=f"{total_norm(list(found)):.4g}",
        strongest=strongest.layer,
        relative=percent(strongest.relative_norm, 2),
        share=percent(share),
        intruded=intruded,
        table=table(
            ("layer", "singular values of ΔW", "rank", "effective rank", "σ₁", "‖ΔW‖",
             "‖ΔW‖ / ‖W‖", *["‖sBA‖", "Δm / m"] * dora, "intruders"),
            [_row(one, strongest.relative_norm, dora) for one in found],
            scrolls=True,
        ),
        leading=len(found[0].similarity),
        words=_paragraphs([*notes, *[DORA] * dora]),
    )  # fmt: skip


def _paragraphs(sentences: Sequence[str]) -> Markup:
    return Markup("").join(
        Markup("<p>{}.</p>").format(f"{words[0].upper()}{words[1:]}") for words in sentences
    )


def _row(one: LayerInspection, most: float, dora: bool) -> tuple[object, ...]:
    bar = 100 * one.relative_norm / most if most else 0.0
    return (
        one.layer,
        _bars(one),
        one.rank,
        f"{one.effective_rank:.2f}",
        f"{one.sigma[0]:.3g}",
        f"{one.norm:.3g}",
        Markup('<div class="bar" style="--share:{:.1f}%">{}</div>').format(
            bar, percent(one.relative_norm, 2)
        ),
        *[number(one.direction_norm), percent(one.magnitude_change, 2)] * dora,
        one.intruders or "–",
    )


def _bars(one: LayerUpdate | None) -> Markup:
    if one is None:
        return Markup("–")
    top = float(one.sigma[0]) or 1.0
    wide = WIDTH / len(one.sigma)
    bar = Markup('<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>')
    bars = Markup("").join(
        bar.format(i * wide, HEIGHT * (1 - s / top), 0.8 * wide, HEIGHT * s / top)
        for i, s in enumerate(one.sigma.tolist())
    )
    words = f"{len(one.sigma)} singular values from {one.sigma[0]:.3g} to {one.sigma[-1]:.3g}"
    return Markup(
        '<svg width="{}" height="{}" role="img" aria-label="{words}"><title>{words}</title>{}</svg>'
    ).format(WIDTH, HEIGHT, bars, words=words)


_PAGE = Markup("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Adapter {adapter}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head><body><main>
<h1>What the adapter <q>{adapter}</q> does to {base}</h1>
<p>It changes <b>{layers} layers</b> by ‖ΔW‖ = {norm} in total. The
largest relative change is in <b>{strongest}</b>
({relative} of ‖W‖). On average the update uses <b>{share} of
its rank</b> (effective rank against rank). <b>Intruder dimensions</b>, leading singular vectors
dissimilar to all of W's, occur in
<b>{intruded} of {layers}</b> layers.</p>
{words}{table}
<p class="hint">ΔW = s(BA − B⁰A⁰) is the trained update. Each small chart shows its singular values,
the largest first, from zero. Effective rank: exp of the entropy of σ / Σσ (Roy and Vetterli 2007).
Intruders: among the {leading} leading left singular vectors of W + ΔW, those whose
cosine with each of W's is below one half (Shuttleworth et al. 2024, arXiv 2410.21228).</p>
</main></body></html>
""")


_PAGE_OF_TWO = Markup("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Two adapters of {base}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head><body><main>
<h1>What two adapters do to {base}</h1>
<p><b>1</b>: <q>{adapter}</q>; <b>2</b>: <q>{other}</q>.</p>
{words}{table}
<p class="hint">ΔW = s(BA − B⁰A⁰) is the trained update. Each small chart shows its singular values,
the largest first, from zero. Effective rank: exp of the entropy of σ / Σσ (Roy and Vetterli 2007).
Cosine: the Frobenius inner product of both ΔW over the product of their norms. k is the smaller
effective rank, rounded up; overlap: ‖U₁ᵀU₂‖² / k of the k leading singular vectors (Hu et al. 2021,
arXiv 2106.09685).</p>
</main></body></html>
""")


_STYLE = f"""
:root{{{theme.css_variables("light")}}}
@media (prefers-color-scheme: dark){{:root{{{theme.css_variables("dark")}}}}}
body{{margin:0;background:var(--bg);color:var(--ink);font:14px/1.5 {theme.font_family()}}}
main{{max-width:1120px;margin:0 auto;padding:28px 20px}}
h1{{font-size:20px;margin:0 0 10px}}p{{max-width:75ch}}.hint{{color:var(--mute);font-size:12.5px}}
.standing-frame{{overflow-x:auto;background:var(--card);border:1px solid var(--line);
border-radius:12px}}
table{{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:13px}}
th,td{{padding:5px 12px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}}
th{{font-weight:500}}thead th{{color:var(--mute);font-size:12px;position:sticky;top:0}}
tr>:first-child{{text-align:left}}tbody tr:last-child>*{{border-bottom:0}}
rect{{fill:var(--olora)}}svg{{display:block}}
.bar{{background:linear-gradient(90deg,var(--soft) var(--share),transparent 0)}}
"""
