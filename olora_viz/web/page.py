"""The shell around the pages: the top bar, the look, and how the server is launched."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import themes

from olora_viz.figures import theme
from olora_viz.figures.live.serving import HERE
from olora_viz.machine.memory import share_arenas
from olora_viz.races.config import RaceConfig
from olora_viz.web import layout, learn, spectrum
from olora_viz.web.guard.limits import Limits, from_environment
from olora_viz.web.guard.requests import application_options, forgive_forgotten_pages
from olora_viz.web.jobs.accelerator import ZeroGpuRace, warm_up
from olora_viz.web.jobs.job import on_zero_gpu
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts import tabs
from olora_viz.web.parts.card import element
from olora_viz.web.parts.setup import SetUp
from olora_viz.web.parts.tabs import button_titles
from olora_viz.web.race.cards import CARDS
from olora_viz.web.race.controls import help_button
from olora_viz.web.race.links import class_button, hiding_css
from olora_viz.web.race.stream import MOST

NAME = "OLoRA playground"
PAGES = ("race", "decide", "claims", "spectrum", "conditioning", "learn")
"""Names of the pages, in the order of the navigation; ``#spectrum`` in the URL shows one."""


WEB = Path(__file__).parent

STYLES = (
    HERE / "fragments.css", WEB / "style.css", WEB / "race" / "own_file.css",
    WEB / "race" / "more_settings.css", WEB / "race" / "ask.css", WEB / "learn.css",
    HERE / "lane_table.css",
)  # fmt: skip
"""The style sheets, in their order; the notebook's panels have the first and the last one too."""

SESSIONS = 100
"""Page loads for which Gradio keeps its copy of the page, those used last: 0.4 MB each and as much for the charts that
it was sent. A page whose copy is dropped works on, see `_check_nothing_twice`.
"""

SPARE = 60
"""Events at once beside the open pages that follow a race."""

EVENTS = 10 * (MOST + SPARE)
"""Events of all pages that may wait; on ZeroGPU Gradio's own limit is one, and a page sends several at once."""


def jobs_of(limits: Limits) -> Jobs:
    """Return the races of a server, with those of an earlier one; they are paused at its end."""
    share_arenas()
    zero_gpu = on_zero_gpu()
    jobs = Jobs(limits, races=ZeroGpuRace) if zero_gpu else Jobs(limits)
    first = SetUp.first(limits).to_config(limits)
    if zero_gpu:
        warm_up()
    elif first.model == RaceConfig.model:  # others may have to be downloaded
        jobs.prepare(first)
    atexit.register(jobs.close)
    return jobs


def build(limits: Limits | None = None, jobs: Jobs | None = None) -> gr.Blocks:
    """Build the whole application."""
    limits = limits or from_environment()
    jobs = jobs or jobs_of(limits)
    with gr.Blocks(title=NAME, analytics_enabled=False, fill_width=True) as demo:
        with gr.Row(elem_id="top-bar"):
            element(f"<h1>{NAME}</h1>")
            # All pages are laid out at once, and one is shown.
            links = "".join(f'<a href="#{page}">{page.capitalize()}</a>' for page in PAGES)
            navigation = element(f"<nav>{links}</nav>", script="navigation.js", elem_id="navigation")
            bar = layout.top_bar(limits)
            class_button()
            help_button()
        card = learn.card()
        stage = layout.build(demo, bar, jobs, limits)
        spectrum.build(demo, limits)
        learn.build(demo, card, stage, jobs, limits)
        button_titles()
    _show_progress_on(navigation, demo)
    _check_nothing_twice(demo)
    demo.queue(max_size=EVENTS)
    forgive_forgotten_pages(demo)
    return demo


def _show_progress_on(part: gr.HTML, demo: gr.Blocks) -> None:
    """Make Gradio's page track calls that show no progress on one small component only.

    Otherwise it tracks each call on every component that any call has ever filled, and copies all of them, a few
    hundred, twice per call.
    """
    for call in demo.fns.values():
        if call.show_progress == "hidden":
            call.show_progress_on = [part]


def _check_nothing_twice(demo: gr.Blocks) -> None:
    """Let no value be checked against Gradio's copy of a page: the functions check all of them.

    The copy is forgotten after `SESSIONS` further page loads, and with it the choices of lists that were filled later,
    so that a page left open would have its own choices refused.
    """
    for call in demo.fns.values():
        call.preprocess = False


def launch_options() -> dict[str, Any]:
    """Return the arguments of `Blocks.launch` that Gradio's environment variables do not set.

    Spaces ask for pages that Node renders on the server. In a frame, or under a proxy's path, such a page stays white,
    and Node would answer before this application does.
    """
    return {
        "ssr_mode": False,
        "theme": gradio_theme(),
        "favicon_path": str(WEB / "favicon.svg"),
        "css": css(),
        "footer_links": [],
        "run_history": False,
        "state_session_capacity": SESSIONS,
        "max_threads": MOST + SPARE,  # Gradio's events at once, of which each open page is one
        "show_error": False,
        "max_file_size": 1,  # bytes: the pages take no files, but Gradio's route for them is open
        "app_kwargs": application_options(),
    }


def css() -> str:
    """Return the style sheet, after the palettes as variables."""
    blocks = []
    for name, selector in (("light", ":root"), ("dark", ".dark")):
        blocks.append(f"{selector}{{{theme.css_variables(name)}color-scheme:{name};}}")
    styles = [file.read_text("utf-8") for file in STYLES]
    return "\n".join([*blocks, *styles, tabs.tabs_css(CARDS), hiding_css()])


def gradio_theme() -> themes.Base:
    """Give Gradio's own inputs the page's colours, sizes and fonts."""
    light, dark = theme.palette("light"), theme.palette("dark")
    fonts = [themes.Font(name) for name in theme.FONTS]
    tokens = {
        "body_background_fill": "bg", "background_fill_primary": "card",
        "background_fill_secondary": "bg", "block_background_fill": "card",
        "body_text_color": "ink", "body_text_color_subdued": "mute",
        "block_label_text_color": "mute", "block_title_text_color": "mute",
        "block_info_text_color": "mute", "border_color_primary": "line",
        "border_color_accent": "accent", "color_accent_soft": "soft",
        "input_background_fill": "bg", "input_background_fill_focus": "bg",
        "input_border_color": "line", "input_border_color_focus": "accent",
        "input_placeholder_color": "mute",
        "button_primary_background_fill": "accent",
        "button_primary_background_fill_hover": "accent",
        "button_primary_border_color": "accent", "button_primary_text_color": "on-accent",
        "button_secondary_background_fill": "card",
        "button_secondary_background_fill_hover": "soft",
        "button_secondary_border_color": "line", "button_secondary_text_color": "ink",
    }  # fmt: skip
    colors = {key: light[token] for key, token in tokens.items()}
    colors |= {f"{key}_dark": dark[token] for key, token in tokens.items()}
    return themes.Base(font=fonts, font_mono=[themes.Font("monospace")]).set(
        **colors,
        block_border_width="0px",
        block_padding="0px",
        block_shadow="none",
        block_radius="0px",
        block_label_text_size="12px",
        block_title_text_size="12px",
        block_title_text_weight="400",
        input_border_width="1px",
        button_border_width="1px",
        input_radius="8px",
        input_padding="7px 9px",
        input_text_size="14px",
        input_shadow="none",
        input_shadow_focus="none",
        button_large_radius="8px",
        button_large_padding="7px 14px",
        button_large_text_size="14px",
        button_large_text_weight="500",
        layout_gap="14px",
        form_gap_width="0px",
    )
