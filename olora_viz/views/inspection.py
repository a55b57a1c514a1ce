"""An inspected adapter as one self-contained HTML page without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from olora_viz.figures import theme
from olora_viz.machine.files import write_text
from olora_viz.machine.numbers import percent
from olora_viz.measures.inspection import LayerInspection, total_norm
from olora_viz.views.html import table

WIDTH, HEIGHT = 150, 34


def write_report(
    path: Path, adapter: str | Path, base: str, found: Sequence[LayerInspection]
) -> Path:
    """Write the report: a summary, a table with a small spectrum of every layer, a legend."""
    write_text(path, page(adapter, base, found))
    return path


def page(adapter: str | Path, base: str, found: Sequence[LayerInspection]) -> Markup:
    """Return the report as HTML."""
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
             "‖ΔW‖ / ‖W‖", "intruders"),
            [_row(one, strongest.relative_norm) for one in found],
            scrolls=True,
        ),
        leading=len(found[0].similarity),
    )  # fmt: skip


def _row(one: LayerInspection, most: float) -> tuple[object, ...]:
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
        one.intruders or "–",
    )


def _bars(one: LayerInspection) -> Markup:
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
{table}
<p class="hint">ΔW = s(BA − B⁰A⁰) is the trained update. Each small chart shows its singular values,
the largest first, from zero. Effective rank: exp of the entropy of σ / Σσ (Roy and Vetterli 2007).
Intruders: among the {leading} leading left singular vectors of W + ΔW, those whose
cosine with each of W's is below one half (Shuttleworth et al. 2024, arXiv 2410.21228).</p>
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
