"""An inspected adapter as one self-contained HTML page without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from olora_viz.figures import theme
from olora_viz.machine.files import write_text
from olora_viz.machine.numbers import percent
from olora_viz.measures.inspection import LayerInspection, total_norm

WIDTH, HEIGHT = 150, 34


def write_report(
    path: Path, adapter: str | Path, base: str, found: Sequence[LayerInspection]
) -> Path:
    """Write the report: a summary, a table with a small spectrum of every layer, a legend."""
    write_text(path, page(adapter, base, found))
    return path


def page(adapter: str | Path, base: str, found: Sequence[LayerInspection]) -> str:
    """Return the report as HTML."""
    rows = "".join(_row(one, max(x.relative_norm for x in found)) for one in found)
    css = "".join(
        f"{selector}{{{''.join(f'--{k}:{v};' for k, v in theme.palette(name).items())}}}"
        for name, selector in (
            ("light", ":root"),
            ("dark", "@media (prefers-color-scheme: dark){:root"),
        )
    )
    intruded = sum(one.intruders > 0 for one in found)
    strongest = max(found, key=lambda one: one.relative_norm)
    share = sum(one.effective_rank for one in found) / sum(one.rank for one in found)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Adapter {escape(Path(adapter).name)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{css}}}{_STYLE}</style></head><body><main>
<h1>What the adapter <q>{escape(Path(adapter).name)}</q> does to {escape(Path(base).name)}</h1>
<p>It changes <b>{len(found)} layers</b> by ‖ΔW‖ = {total_norm(list(found)):.4g} in total. The
largest relative change is in <b>{escape(strongest.layer)}</b>
({percent(strongest.relative_norm, 2)} of ‖W‖). On average the update uses <b>{percent(share)} of
its rank</b> (effective rank against rank). <b>Intruder dimensions</b>, leading singular vectors
dissimilar to all of W's, occur in
<b>{intruded} of {len(found)}</b> layers.</p>
<div class="frame"><table><thead><tr><th>layer</th><th>singular values of ΔW</th><th>rank</th>
<th>effective rank</th><th>σ₁</th><th>‖ΔW‖</th><th>‖ΔW‖ / ‖W‖</th><th>intruders</th></tr></thead>
<tbody>{rows}</tbody></table></div>
<p class="hint">ΔW = s(BA − B⁰A⁰) is the trained update. Each small chart shows its singular values,
the largest first, from zero. Effective rank: exp of the entropy of σ / Σσ (Roy and Vetterli 2007).
Intruders: among the {len(found[0].similarity)} leading left singular vectors of W + ΔW, those whose
cosine with each of W's is below one half (Shuttleworth et al. 2024, arXiv 2410.21228).</p>
</main></body></html>
"""


def _row(one: LayerInspection, most: float) -> str:
    bar = 100 * one.relative_norm / most if most else 0.0
    return (
        f"<tr><th scope='row'>{escape(one.layer)}</th><td>{_bars(one)}</td><td>{one.rank}</td>"
        f"<td>{one.effective_rank:.2f}</td><td>{one.sigma[0]:.3g}</td><td>{one.norm:.3g}</td>"
        f"<td class='bar' style='--share:{bar:.1f}%'>{percent(one.relative_norm, 2)}</td>"
        f"<td>{one.intruders or '–'}</td></tr>"
    )


def _bars(one: LayerInspection) -> str:
    top = float(one.sigma[0]) or 1.0
    wide = WIDTH / len(one.sigma)
    bars = "".join(
        f'<rect x="{i * wide:.2f}" y="{HEIGHT * (1 - s / top):.2f}" width="{0.8 * wide:.2f}" '
        f'height="{HEIGHT * s / top:.2f}"/>'
        for i, s in enumerate(one.sigma.tolist())
    )
    words = f"{len(one.sigma)} singular values from {one.sigma[0]:.3g} to {one.sigma[-1]:.3g}"
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{words}">'
        f"<title>{words}</title>{bars}</svg>"
    )


_STYLE = f"""
body{{margin:0;background:var(--bg);color:var(--ink);font:14px/1.5 {theme.font_family()}}}
main{{max-width:1120px;margin:0 auto;padding:28px 20px}}
h1{{font-size:20px;margin:0 0 10px}}p{{max-width:75ch}}.hint{{color:var(--mute);font-size:12.5px}}
.frame{{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:12px}}
table{{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:13px}}
th,td{{padding:5px 12px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}}
th{{font-weight:500}}thead th{{color:var(--mute);font-size:12px;position:sticky;top:0}}
tr>:first-child{{text-align:left}}tbody tr:last-child>*{{border-bottom:0}}
rect{{fill:var(--olora)}}svg{{display:block}}
.bar{{background:linear-gradient(90deg,var(--soft) var(--share),transparent 0)}}
"""
