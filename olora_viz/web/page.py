"""The application: all pages laid out under one bar, their look, and the server."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from gradio import themes

from olora_viz.background.record import ready_race
from olora_viz.figures import theme
from olora_viz.figures.live.serving import HERE
from olora_viz.initializers import INITIALIZERS
from olora_viz.machine.memory import share_arenas
from olora_viz.races.config import RaceConfig
from olora_viz.views.race import race_view
from olora_viz.web import about, claims, conditioning, decide, handout, learn, spectrum
from olora_viz.web.classroom.routes import routes, strip
from olora_viz.web.guard.events import MOST_EVENTS, share_out_events
from olora_viz.web.guard.limits import Limits, from_environment
from olora_viz.web.guard.requests import application_options
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.accelerator import ZeroGpu
from olora_viz.web.jobs.cluster import of_environment
from olora_viz.web.jobs.job import on_zero_gpu
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts import guide
from olora_viz.web.parts.background import StudyBar, study_bar
from olora_viz.web.parts.card import Board, Desk, PageBlocks, element, held
from olora_viz.web.parts.refused import refused
from olora_viz.web.parts.setup import ON_GPU, SetUp, SetUpControls, first_recording
from olora_viz.web.race import ask, bet, cards, chain, events, presets, settings
from olora_viz.web.race.arrival import hiding_css, read
from olora_viz.web.race.controls import (
    CONTROLS,
    LINE,
    READERS,
    Buttons,
    class_button,
    countdown,
    help_button,
    make_buttons,
    make_estimate,
    make_line,
    menu_button,
    pulse,
    share_button,
    show_run_button,
)  # fmt: skip
from olora_viz.web.race.pending import keep_current

NAME = "OLoRA playground"
PAGES = ("race", "decide", "claims", "spectrum", "conditioning", "learn")
"""Names of the pages, in the order of the navigation; ``#spectrum`` in the URL shows one."""

WEB = Path(__file__).parent

PAGE_STYLES = (
    HERE / "fragments.css", WEB / "style.css", WEB / "race" / "own_file.css", WEB / "race" / "more_settings.css",
    WEB / "race" / "ask.css", WEB / "race" / "bet.css", WEB / "classroom" / "classroom.css", WEB / "learn.css",
    WEB / "parts" / "guide.css", WEB / "hands" / "hands.css", HERE / "lane_table.css", HERE / "adapter.css",
    WEB / "race" / "first.css",
)  # fmt: skip
"""The style sheets, in their order; the notebook's panels have the first and the last one too."""

FIRST_SCREEN_PAUSE = 0.02
"""Seconds between two looks of Gradio's queue for events: its own, of milliseconds, take 2.5% of a core at rest."""

BUTTONS = {
    "race-button": "Train all lanes of the set-up side by side",
    "decide-button": "Find the start and the rate for this data, within the time limit",
    "decide-stop-button": "Stop, and keep what is known so far",
    "claims-button": "Repeat the measurements on the model and task of the set-up",
    "claims-stop-button": "Stop, and keep the claims that are judged",
    "permute-button": "Put the columns of W into a random order",
    "restore-button": "Put the columns of W back into their own order",
    "measure-button": "Measure gradient and curvature of every start, before the first step",
    "measure-stop-button": "Stop the measurement",
    "chain-button": "Train all lanes of the set-up on its task, then on each of the others",
    "chain-stop-button": "Stop, and keep the tasks that have ended",
    "slice-button": "Draw the loss around two starts, on one scale",
    "fair-button": "Set up every start at plain LoRA's rate, and at its own fair one",
}
"""A line on each button of the pages, by its id."""


def jobs_of(limits: Limits) -> Jobs:
    """Return the races of a server, with those of an earlier one; they are paused at its end."""
    share_arenas()
    zero_gpu = on_zero_gpu()
    jobs = Jobs(limits, executor=ZeroGpu() if zero_gpu else of_environment())
    first = SetUp.first(limits).to_config(limits)
    is_here = first.model == RaceConfig.model or first_recording(limits) == ON_GPU  # others may have to be downloaded
    if zero_gpu or is_here:
        jobs.prepare(first)
    atexit.register(jobs.close)
    return jobs


def build(limits: Limits | None = None, jobs: Jobs | None = None, lab: spectrum.Lab | None = None) -> gr.Blocks:
    """Build the whole application."""
    limits = limits or from_environment()
    jobs = jobs or jobs_of(limits)
    with PageBlocks(title=NAME, analytics_enabled=False, fill_width=True) as demo:
        with gr.Row(elem_id="top-bar"):
            element(f"<h1>{NAME}</h1>")
            # All pages are laid out at once, and one is shown.
            links = "".join(f'<a href="#{page}">{page.capitalize()}</a>' for page in PAGES)
            navigation = element(f"<nav>{links}</nav>", script="navigation.js", elem_id="navigation")
            bar = TopBar(
                status=make_line(),
                estimate=make_estimate(later=jobs.speeds.timing),
                show=show_run_button(),
                buttons=make_buttons(),
                bet=bet.button(),
                decide=study_bar("decide", "▶ Decide"),
                claims=study_bar("claims", "▶ Test on my model"),
                share=share_button(SetUp.first(limits)),
            )
            class_button()
            help_button()
            menu_button()
        desk, controls, lesson_card = _set_up_pages(demo, bar, jobs, limits)
        spectrum.build(demo, limits, lab or spectrum.lab_of(()))
        learn.build(demo, lesson_card, desk, controls)
        # The tooltips of the buttons, and of the starts that boxes offer.
        starts = {method.label: method.summary for method in INITIALIZERS.values()}
        element("", titles=BUTTONS, starts=starts, script="parts/titles.js", elem_classes="unseen")
        element("", script="parts/kept_focus.js", elem_classes="unseen")
        element("", script="parts/menus.js", elem_classes="unseen")
        refused()
    for call in demo.fns.values():
        # Of calls that show no progress Gradio's page would track it on each component that any call has ever filled,
        # and copy all of them, a few hundred, twice per call.
        if call.show_progress == "hidden":
            call.show_progress_on = [navigation]
        # Gradio would check values against its copy of a page, of which there is none: choices of lists that were
        # filled later would be refused.
        call.preprocess = False  # the functions check all values
    demo.queue(max_size=MOST_EVENTS, api_open=False)
    demo._queue.sleep_when_free = FIRST_SCREEN_PAUSE
    demo._queue.progress_update_sleep_when_free = 60.0  # no event has progress
    share_out_events(demo, limits)
    return demo


class TopBar(NamedTuple):
    """The components of the pages that share a set-up in the top bar."""

    status: gr.HTML
    estimate: gr.HTML
    show: gr.HTML
    buttons: Buttons
    bet: gr.HTML
    decide: StudyBar
    claims: StudyBar
    share: gr.HTML


def _set_up_pages(demo: gr.Blocks, bar: TopBar, jobs: Jobs, limits: Limits) -> tuple[Desk, SetUpControls, gr.HTML]:
    """Lay Race, Decide, Claims and Conditioning out in one row, connected to the controls of one set-up.

    Their columns and cards have a class of the page that shows them, as ``race-only``.

    Returns:
        The desk of the page Race, the controls, and the place of a lesson's guide.
    """
    first, files = SetUp.first(limits), VisitorFiles(limits)
    blank = race_view(ready_race(first.to_config(limits)))
    desk, board = Desk(limits, jobs, held("run"), pulse(), blank), Board()
    board.add(LINE, [bar.status])
    board.add(CONTROLS, bar.buttons)
    board.add(READERS, [bar.show, element("", elem_id="whose")])
    desk.parts |= {
        "status": bar.status, "buttons": bar.buttons, "note": element("", elem_id="link-note"),
        "estimate": bar.estimate, "countdown": countdown(), "address": gr.JSON(visible=False),
    }  # fmt: skip
    _lay_out(board, desk, "top")
    guide.build(on_gpu=first_recording(limits) == ON_GPU)
    strip()
    lesson_card = learn.card()
    _lay_out(board, desk, "below")
    element(conditioning.PURPOSE, elem_classes=f"purpose {conditioning.ONLY_CONDITIONING}")
    with gr.Row(elem_classes="page", elem_id="race-page"):
        with gr.Column(elem_classes="side left", scale=0, min_width=0):
            setup = settings.build(desk, first)
            choices = decide.choices(limits)
            minutes = claims.choices(limits)
        for column in ("middle", "right", "after"):
            _lay_out(board, desk, column)
        conditioning_columns = conditioning.columns(blank.styles, first.steps)
        decide_page, ahead = decide.columns(jobs, bar.decide)
        claims_page = claims.columns(bar.claims)

    desk.parts["own"] = setup.own
    board.add(ask.FIELD, [desk.parts["ask"]])
    ask.connect(desk)
    board.add(conditioning.CURVED, [conditioning_columns.curved])
    controls = setup.controls._replace(curvature=conditioning_columns.every)
    settings.connect(desk, setup, controls, files)
    presets.connect_next_steps(desk, controls, files)
    chain.connect(desk, demo, controls, files)
    conditioning.connect(conditioning_columns, demo, jobs, limits, controls, desk.run, files)
    examples = [controls.model, controls.task, controls.settings]
    decide.connect(decide_page, ahead, choices, demo, jobs, limits, examples, files, bar.estimate)
    claims.connect(claims_page, minutes, demo, jobs, limits, examples, files)
    stream = events.connect(demo, desk, board, controls, files)
    keep_current(desk, controls, bar.share, files, stream)
    return desk, controls, lesson_card


def _lay_out(board: Board, desk: Desk, column: str) -> None:
    """Build the cards of a column; in the middle the row of tabs stands before their cards."""
    own = [card for card in cards.CARDS if card.column == column]
    classes = [*["side"] * (column == "right"), column, "race-only"]
    with gr.Column(elem_classes=classes, scale=1 if column in ("middle", "after") else 0, min_width=0):
        board.lay_out(desk, (card for card in own if not card.tab))
        if column == "middle":
            cards.tab_row()
        board.lay_out(desk, (card for card in own if card.tab))


def launch_options() -> dict[str, Any]:
    """Return the arguments of `Blocks.launch` that Gradio's environment variables do not set.

    Spaces ask for pages that Node renders on the server. In a frame, or under a proxy's path, such a page stays white,
    and Node would answer before this application does.
    """
    shown = routes(partial(read, from_environment()), PAGES)
    return {
        "ssr_mode": False,
        "theme": gradio_theme(),
        "favicon_path": str(WEB / "favicon.svg"),
        "css": css(),
        "footer_links": [],
        "run_history": False,
        "max_threads": MOST_EVENTS,  # Gradio's events at once, of which each open page is one
        "show_error": False,
        "_frontend": False,  # no launch that asks for the page itself and gives up after three seconds
        "app_kwargs": application_options(*shown, handout.route(), about.route()),
    }


def css() -> str:
    """Return the style sheet, after the palettes as variables."""
    blocks = []
    for name, selector in (("light", ":root"), ("dark", ".dark")):
        blocks.append(f"{selector}{{{theme.css_variables(name)}color-scheme:{name};}}")
    styles = [file.read_text("utf-8") for file in PAGE_STYLES]
    return "\n".join([*blocks, *styles, cards.tabs_css(), hiding_css()])


def gradio_theme() -> themes.Base:
    """Give Gradio's own inputs the page's colours, sizes and fonts."""
    tokens = {
        "body_background_fill": "bg", "background_fill_primary": "card", "background_fill_secondary": "bg",
        "block_background_fill": "card", "body_text_color": "ink", "body_text_color_subdued": "mute",
        "block_label_text_color": "mute", "block_title_text_color": "mute", "block_info_text_color": "mute",
        "border_color_primary": "line", "border_color_accent": "accent", "color_accent_soft": "soft",
        "input_background_fill": "bg", "input_background_fill_focus": "bg", "input_border_color": "line",
        "input_border_color_focus": "accent", "input_placeholder_color": "mute",
        "button_primary_background_fill": "accent", "button_primary_background_fill_hover": "accent",
        "button_primary_border_color": "accent", "button_primary_text_color": "on-accent",
        "button_secondary_background_fill": "card", "button_secondary_background_fill_hover": "soft",
        "button_secondary_border_color": "line", "button_secondary_text_color": "ink",
    }  # fmt: skip
    light, dark = theme.palette("light"), theme.palette("dark")
    colors = {key: light[token] for key, token in tokens.items()}
    colors |= {f"{key}_dark": dark[token] for key, token in tokens.items()}
    fonts = [themes.Font(name) for name in theme.FONTS]
    return themes.Base(font=fonts, font_mono=[themes.Font("monospace")]).set(
        **colors,
        block_border_width="0px", block_padding="0px", block_shadow="none", block_radius="0px",
        block_label_text_size="12px", block_title_text_size="12px", block_title_text_weight="400",
        input_border_width="1px", input_radius="8px", input_padding="7px 9px", input_text_size="14px",
        input_shadow="none", input_shadow_focus="none",
        button_border_width="1px", button_large_radius="8px", button_large_padding="7px 14px",
        button_large_text_size="14px", button_large_text_weight="500",
        layout_gap="14px", form_gap_width="0px",
    )  # fmt: skip


def serve(
    ready: Callable[[str], None],
    *,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    folder: Path | None = None,
    models: Sequence[Path] = (),
) -> None:
    """Serve the pages until Ctrl-C or SIGTERM, after which the races are paused.

    Args:
        ready: called with the URL of the pages.
        host: the address to listen on; None: Gradio's variables, 127.0.0.1 and the first free port from 7860.
        port: see `host`.
        share: whether to ask Gradio for a public address as well, which `ready` is then called with.
        folder: a run folder to open the page on; it is only read, unless the race is unfinished and the page resumes
            it.
        models: folders of models, which the page Spectrum offers too.

    Raises:
        ValueError: a folder holds no run or model, or a damaged one; or the address cannot be listened on.
        OSError: there is no free port.
    """
    _check_address(host, port)
    limits, lab = from_environment(), spectrum.lab_of(models)
    jobs = jobs_of(limits)
    query = f"?run={jobs.open(folder).id}" if folder else ""
    demo = build(limits, jobs, lab)

    def end(*_: object) -> None:
        """End politely, as a container is told to: no more visitors, then pause the races."""
        if server := getattr(demo, "server", None):  # there is none before the launch
            server.should_exit = True
        sys.exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):  # at Ctrl-C Gradio would wait for open pages for seconds
        signal.signal(number, end)
    _no_proxy_to_itself(host)
    _, local, public = demo.launch(
        server_name=f"[{host}]" if ":" in (host or "") else host,
        server_port=port,
        share=share or None,  # None: as Gradio decides where it runs
        prevent_thread_lock=True,
        quiet=True,
        **launch_options(),
    )
    for url in filter(None, (local, public)):
        ready(f"{url.rstrip('/')}/{query}")
    demo.block_thread()


def _no_proxy_to_itself(host: str | None) -> None:
    """Except this machine from the proxy of the environment, if there is one: Gradio's launch asks its own server."""
    excepted = [urllib.request.getproxies().get("no", ""), "127.0.0.1", "localhost", "::1", host]
    os.environ["no_proxy"] = ",".join(filter(None, excepted))


def _check_address(host: str | None, port: int | None) -> None:
    """Raise a ValueError if an address cannot be listened on: Gradio would try for ever."""
    if host is None and port is None:
        return
    host, port = host or "127.0.0.1", port or 0
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            pass
    except (OSError, UnicodeError) as error:
        where = f"port {port} of {host!r}" if port else repr(host)
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot listen on {where}: {why}") from None
