"""Writes the static playground into a folder that any file host serves."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from olora_viz.background.record import RaceRecord
from olora_viz.figures import theme
from olora_viz.figures.live.bundle import bundle
from olora_viz.figures.live.serving import HERE
from olora_viz.figures.live.standing_alone import PLOTLY_SCRIPT
from olora_viz.learn.gallery import GALLERY
from olora_viz.learn.lessons import LESSONS
from olora_viz.machine.files import atomic_folder, folder_size, is_free, write_text
from olora_viz.machine.process import Progress, reporting
from olora_viz.machine.wording import counted
from olora_viz.races.run import load_run
from olora_viz.studies.folder import Ledger
from olora_viz.studies.preregistration import is_decision
from olora_viz.studies.verdicts import Verdicts
from olora_viz.views.spectrum import Lab
from olora_viz.web import handout
from olora_viz.web.guard.limits import Limits
from olora_viz.web.site import pages, race
from olora_viz.web.site.live_data import live_data
from olora_viz.web.site.live_script import live_script
from olora_viz.web.site.page import SITE_TITLE, Page, numbers, race_path

WEB = Path(__file__).parents[1]
ROOT = WEB.parents[1]

SITE_STYLES = (
    HERE / "fragments.css", HERE / "adapter.css", WEB / "style.css", WEB / "race" / "first.css",
    WEB / "race" / "bet.css", WEB / "learn.css", WEB / "parts" / "guide.css", handout.HANDOUT_STYLE,
    Path(__file__).parent / "site.css",
)  # fmt: skip
"""The style sheets, in their order: those of the page, and what stands without it."""

ASSETS = "assets"
"""The folder of what all pages share."""

DARK = Markup(
    'document.documentElement.classList.add("js");const dark=matchMedia("(prefers-color-scheme: dark)"),paint=()=>'
    'document.documentElement.classList.toggle("dark",dark.matches);dark.addEventListener("change",paint);paint()'
)
"""The script that tells the style sheet, before a page is drawn, of JavaScript and of the system's dark theme."""

SITE_SHELL = Markup("""<!doctype html>
<html lang="en" data-page="{kind}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{root}{assets}/favicon.svg"><link rel="stylesheet" href="{root}{assets}/site.css">
<script>{dark}</script></head>
<body class="gradio-container">
<a class="unseen skip" href="#content">Skip to the content</a>
<header id="top-bar"><h1>{name}</h1><div id="navigation"><nav aria-label="Pages">{links}</nav></div></header>
<main id="content">
<p class="hint without">Charts and sliders need JavaScript; texts and tables do not.</p>
{body}</main>
{numbers}<script defer src="{root}{assets}/site.js"></script></body></html>
""")


def write_site(
    folder: Path, runs: Sequence[Path] = (), studies: Sequence[Path] = (), progress: Progress | None = None
) -> dict[str, int | bool]:
    """Write the static playground: lessons, recorded races, claims, spectra, the documentation if it can be built.

    Args:
        folder: a new or empty one, which stays as it is until everything is written.
        runs: folders of finished races, each of which gets a page.
        studies: folders of finished studies and decisions, likewise.
        progress: called with the share that is done, and what is being done.

    Returns:
        The numbers of pages and bytes, whether the documentation is among them, and whether the first page trains.

    Raises:
        ValueError: the folder is not empty, or a race or a study has not finished or cannot be read.
    """
    if not is_free(folder):
        raise ValueError(f"the folder of the site must be new or empty: {str(folder)!r} is not")
    own = [(_named(run, runs), _finished(run)) for run in runs]
    known = [(_named(study, studies), _judged(study)) for study in studies]
    with reporting(progress) as report:
        report(0.0, "drawing the races")
        trains = live_script()
        raced = [*GALLERY.items(), *((name, race.without_paths(record)) for name, record in own)]
        titles = {race_path(name): race.title_of(record, name) for name, record in raced}
        titles |= {f"studies/{name}.html": pages.title_of_study(verdicts, name) for name, verdicts in known}
        own_pages = [race.race_page(name, record, titles, is_live=bool(trains)) for name, record in raced]
        own_pages += [pages.study_page(name, verdicts, titles) for name, verdicts in known]
        report(0.3, "decomposing the layers")
        spectra = pages.spectrum_pages(Lab(), Limits())
        docs = documentation()
        lessons = [*pages.lesson_pages(is_live=bool(trains)), pages.handout_page()]
        every = [*own_pages, *lessons, pages.claims_page(), *spectra]
        with atomic_folder(folder) as partial:
            write_assets(partial / ASSETS)
            if trains:
                write_text(partial / ASSETS / "live.js", trains)
                write_text(partial / ASSETS / "live-data.js", f"globalThis.oloraLiveData = {live_data()};\n")
            for page in every:
                files = {page.path: html(page, docs=docs is not None), **page.files}
                for path, text in files.items():
                    (partial / path).parent.mkdir(exist_ok=True)
                    write_text(partial / path, text)
            if docs is not None:
                report(0.6, "building the documentation")
                build_documentation(docs, partial / "docs")
    built = {"documentation": docs is not None, "live": trains is not None}
    return {"pages": len(every), "bytes": folder_size(folder), **built}


def _named(folder: Path, folders: Sequence[Path]) -> str:
    """Return the last part of the address of a run or a study, a different one for each."""
    before = [pages.slug(str(each)) for each in folders[: list(folders).index(folder)]]
    taken = before.count(pages.slug(str(folder))) + (pages.slug(str(folder)) in GALLERY)
    return f"{pages.slug(str(folder))}-{taken + 1}" if taken else pages.slug(str(folder))


def _finished(folder: Path) -> RaceRecord:
    """Read a finished race; ValueError if it is not one."""
    record = RaceRecord.of_run(load_run(folder))
    if not record.complete:
        done = f"{len(record.steps)} of {record.config.steps} steps"
        raise ValueError(f"the race in {str(folder)!r} has not finished: it has {done}")
    return record


def _judged(folder: Path) -> Verdicts:
    """Read a finished study or a decision; ValueError if it is not one."""
    ledger = Ledger(folder)
    left = 0 if is_decision(ledger.folder) else len(ledger.needed())
    if left or not ledger.trials():
        what = f"{counted(left, 'lane')} left to run" if left else "no finished race"
        raise ValueError(f"the study in {str(folder)!r} has not finished: it has {what}")
    return ledger.verdicts()


LINKS = (
    ("race", "index.html", "Race"), ("claims", "claims.html", "Claims"),
    ("spectrum", "spectrum/index.html", "Spectrum"), ("learn", f"learn/{next(iter(LESSONS))}.html", "Learn"),
)  # fmt: skip
IN_DOCUMENTATION = (("", "docs/RESULTS.html", "Findings"), ("", "docs/index.html", "Documentation"))
"""The navigation: kind of page, address and words."""


def html(page: Page, *, docs: bool) -> str:
    """Return a page as a whole; `docs` links the documentation."""
    links = [*LINKS, *(IN_DOCUMENTATION if docs else ())]
    link = Markup('<a href="{}{}"{}>{}</a>')
    current = Markup(' aria-current="page"')
    listed = Markup("").join(
        link.format(page.root, path, current if kind == page.kind else "", words) for kind, path, words in links
    )
    title = page.title if page.title == SITE_TITLE else f"{page.title} · {SITE_TITLE}"
    given = numbers(page.figures, page.frames) if page.figures or page.frames else ""
    return SITE_SHELL.format(
        kind=page.kind, title=title, root=page.root, assets=ASSETS, dark=DARK, name=SITE_TITLE,
        links=listed, body=page.body, numbers=given,
    )  # fmt: skip


def write_assets(folder: Path) -> None:
    """Write what draws the charts of all pages: Plotly, the chart module, the style sheet, the icon."""
    folder.mkdir(parents=True)
    shutil.copyfile(PLOTLY_SCRIPT, folder / "plotly.min.js")
    shutil.copyfile(WEB / "favicon.svg", folder / "favicon.svg")
    write_text(folder / "site.js", script())
    write_text(folder / "site.css", "\n".join([colors(), *(file.read_text("utf-8") for file in SITE_STYLES)]))


def script() -> str:
    """Return the script of all pages, a classic one: browsers load no modules from a folder."""
    palette = json.dumps({name: theme.palette(name) for name in theme.THEMES})
    scrub, bet, view = (bundle(WEB / "race" / f"{name}.js") for name in ("scrubber", "bet", "view"))
    inner = bundle(Path(__file__).parent / "site.js")
    terms = bundle(WEB / "terms.js")
    return (
        f"(() => {{\nconst palette = {palette};\n"
        f"const scrubber = (element, props, watch, trigger) => {{\n{scrub}}};\n"
        f"const bets = (element) => {{\n{bet}}};\nconst views = (element) => {{\n{view}}};\n"
        f"{inner}{{\n{terms}}}\n}})();\n"
    )


def colors() -> str:
    """Return the palettes as CSS variables; without JavaScript the theme is the system's."""
    light, night = (f"{theme.css_variables(name)}color-scheme:{name};" for name in theme.THEMES)
    return f":root{{{light}}}\n.dark{{{night}}}\n@media (prefers-color-scheme: dark){{:root:not(.js){{{night}}}}}"


def documentation() -> Path | None:
    """Return the configuration of the documentation; None if it or what builds it is not there."""
    setup = ROOT / "mkdocs.yml"
    return setup if setup.is_file() and importlib.util.find_spec("mkdocs") else None


def build_documentation(setup: Path, folder: Path) -> None:
    """Build the documentation into a folder beside the site's assets."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(setup), site_dir=str(folder.resolve()))
    config.extra.update(assets=f"../{ASSETS}", homepage="../index.html")
    build(config)
    # Source maps are for the developers of its theme, and the search reads English alone.
    for unused in (*folder.rglob("*.map"), *folder.glob("assets/javascripts/lunr/**/*.js")):
        unused.unlink()
