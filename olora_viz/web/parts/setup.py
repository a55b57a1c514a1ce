"""A visitor's set-up: read from the page's fields, and checked."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

import gradio as gr

from olora_viz.lanes.lane import FAIR, Lane, runs_of_seeds
from olora_viz.lanes.lane_spec import parse_lanes, write_lane, write_lanes, write_seeds
from olora_viz.learn.gallery import RECORDINGS
from olora_viz.machine.checks import Problems
from olora_viz.machine.devices import kind_of, resolve_device
from olora_viz.machine.wording import exact
from olora_viz.models.loading import folder_of
from olora_viz.races.config import KEPT, NAMES_OF_SETTINGS, RaceConfig, Settings, setting_text
from olora_viz.tasks import TASKS
from olora_viz.web.guard.config import OwnFiles, checked_config, is_token
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import STORED_NAME
from olora_viz.web.jobs.job import Access, on_zero_gpu

YOUR_FILE = STORED_NAME
"""The task, or the text to keep, of a link whose set-up has a visitor's own file: no link carries the file itself."""

log = logging.getLogger(__name__)

PLAIN_SETTINGS = Settings()
"""The fold "More settings" as a page begins, and as a link without them means it."""


@dataclass(frozen=True)
class SetUp:
    """The set-up on the page; each field is a control, in order.

    A link uses the same names, except one ``lane=SPEC`` per lane, as on the command line, and the names of
    `NAMES_OF_SETTINGS`, those that are not the default.
    """

    model: str
    """A name."""
    task: str
    """A name, or the token of a visitor's own file."""
    steps: int
    batch: int
    """Prompts per step."""
    seed: int
    """Seed of the task and of the order of its examples."""
    lanes: tuple[Lane, ...]
    curvature: int = 0
    """Steps between two measurements of the curvature; 0 for none."""
    settings: Settings = PLAIN_SETTINGS
    """Those of the fold "More settings"."""

    @classmethod
    def first(cls, limits: Limits) -> SetUp:
        """Return the page's initial set-up, within the limits of this server: that of its `first_recording`."""
        if first_recording(limits) == ON_GPU:
            return of_recording(RECORDINGS[ON_GPU].config)
        plain = RaceConfig()
        return cls(
            limits.models[0], plain.task, min(plain.steps, limits.max_steps),
            min(plain.batch_size, limits.max_batch), plain.seed, plain.lanes,
        )  # fmt: skip

    @classmethod
    def of_links(cls, limits: Limits) -> SetUp:
        """Return what links mean by whatever they leave out.

        This never changes, unlike `first`, so that a shared link keeps its meaning.
        """
        rates = (("lora", 1e-3), ("lora", 3e-3), ("olora", 1e-3), ("olora", 3e-3), ("pissa", 1e-3))
        lanes = tuple(Lane(init, lr=lr) for init, lr in rates)
        steps, batch = min(100, limits.max_steps), min(16, limits.max_batch)
        return cls(limits.models[0], "number-words", steps, batch, 0, lanes)

    @classmethod
    def of(cls, config: RaceConfig) -> SetUp:
        """Return the set-up of a race.

        Raises:
            ValueError: it has settings that the page cannot show.
        """
        settings, plain = Settings.of(config), PLAIN_SETTINGS.of_lane()
        shared = all(getattr(lane, key) == value for lane in config.lanes for key, value in settings.of_lane().items())
        return cls(
            config.model, config.task, config.steps, config.batch_size, config.seed,
            tuple(replace(lane, **plain) for lane in config.lanes) if shared else config.lanes, config.curvature_every,
            settings,
        )  # fmt: skip

    @classmethod
    def of_page(cls, config: RaceConfig) -> SetUp:
        """Return the set-up of a race that `checked_config` returned, with its very batches."""
        setup = cls.of(config)
        return replace(setup, settings=replace(setup.settings, batches=config.batches))

    @classmethod
    def from_controls(cls, limits: Limits, values: Sequence[Any], files: OwnFiles | None = None) -> SetUp:
        """Read what the page's controls sent, in the order of the fields.

        Raises:
            ValueError: a value breaks a rule of the page; the message is one sentence.
        """
        sent = dict(zip(SetUpControls._fields, values, strict=True))
        config = checked_config(limits, **sent, files=files)
        setup = replace(cls.of_page(config), task=sent["task"])
        return setup if config.keep in KEPT else setup.keeping(sent["settings"]["keep"])

    @classmethod
    def from_query(cls, limits: Limits, query: str) -> SetUp | None:
        """Read a link, with defaults from `of_links`; return None if it contains no set-up.

        Where the link's task, or its text to keep, is a visitor's own file, the set-up's is `YOUR_FILE`.

        Raises:
            ValueError: values break rules of the page; the message has a sentence for each.
        """
        pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True)
        settings = {key: value for key, value in pairs if key in NAMES_OF_SETTINGS}
        plain = {key: value for key, value in pairs if key in IN_QUERY and key not in NAMES_OF_SETTINGS}
        specs = [value for key, value in pairs if key == "lane"]
        if not plain and not specs and not settings:
            return None
        default, wrong = cls.of_links(limits), Problems()
        parsed = [wrong.check(parse_lanes, spec, instead=[]) for spec in specs]
        lanes = [lane for group in parsed for lane in group] or default.lanes
        own, own_text = plain.get("task") == YOUR_FILE, settings.get("keep") == YOUR_FILE
        if own_text:
            del settings["keep"]
        values: dict[str, Any] = default.values() | plain | {"lanes": rows_of(lanes), "settings": settings}
        if own:
            values["task"] = default.task
        config = wrong.check(lambda: checked_config(limits, **values), instead=None)
        wrong.report()
        assert config is not None
        setup = cls.of_page(config)
        setup = replace(setup, task=YOUR_FILE) if own else setup
        return setup.keeping(YOUR_FILE) if own_text else setup

    def keeping(self, keep: str) -> SetUp:
        """Return the set-up with another text to keep."""
        return replace(self, settings=replace(self.settings, keep=keep))

    def values(self) -> dict[str, Any]:
        """Return the values of the controls by name, with the lanes as rows of the table."""
        plain = {name: getattr(self, name) for name in SetUpControls._fields}
        return plain | {"lanes": rows_of(self.lanes), "settings": self.settings.values()}

    def to_query(self) -> str:
        """Write a link's query; of a visitor's own files it says only that there are some.

        >>> SetUp.of(RaceConfig(lanes=(Lane("olora", lr=3e-3),), steps=50)).to_query()
        'model=glassllm&task=sentiment&steps=50&batch=16&seed=0&lane=olora:lr=3e-3,r=8'
        """
        pairs = [
            ("model", self.model),
            ("task", self.task if self.task in TASKS else YOUR_FILE),
            ("steps", str(self.steps)),
            ("batch", str(self.batch)),
            ("seed", str(self.seed)),
            *(("lane", spec) for spec in write_lanes(self.lanes)),
            *([("curvature", str(self.curvature))] if self.curvature else []),
            *(self if self.settings.keep in KEPT else self.keeping(YOUR_FILE)).settings.changed().items(),
        ]
        return urlencode(pairs, safe=":,=", quote_via=quote)

    def to_config(self, limits: Limits, files: OwnFiles | None = None) -> RaceConfig:
        """Return the race, checked.

        Raises:
            ValueError: a value breaks a rule of the page; the message is one sentence.
        """
        return checked_config(limits, **self.values(), files=files)

    def to_controls(self, keep: Collection[str] = ()) -> SetUpControls:
        """Return the controls' values.

        Args:
            keep: names of fields whose controls stay as they are. The task also stays if it was a visitor's own file,
                which only uploading it selects. Such a text to keep becomes the default.
        """
        stay = {*keep, *([] if self.task in TASKS or is_token(self.task) else ["task"])}
        is_known = self.settings.keep in KEPT or is_token(self.settings.keep)
        values = (self if is_known else self.keeping(PLAIN_SETTINGS.keep)).values()
        return SetUpControls(**{name: value for name, value in values.items() if name not in stay})


class SetUpControls(NamedTuple):
    """The controls of a page for the fields of a `SetUp`, or their values."""

    model: Any = gr.skip()
    task: Any = gr.skip()
    steps: Any = gr.skip()
    batch: Any = gr.skip()
    seed: Any = gr.skip()
    lanes: Any = gr.skip()
    curvature: Any = gr.skip()
    settings: Any = gr.skip()


ON_CPU, ON_GPU = "first", "smollm2"
"""The recorded races with which a page begins. That on SmolLM2 takes about half a minute on a GPU as well, by
`seconds_needed`, whose estimate is conservative; it has not been timed on one. glassllm is the first of the list of
models on either."""


@cache
def first_recording(limits: Limits) -> str:
    """Return the name of the recorded race of the first screen, whose set-up is the first one.

    It is decided once, when the server starts: on a GPU of its own the race on SmolLM2, which is downloaded if it is
    not there. If it cannot be, or the limits forbid the race, and on ZeroGPU, which counts the seconds of a visitor,
    it is that on glassllm.
    """
    config = RECORDINGS[ON_GPU].config
    if (
        on_zero_gpu()
        or not kind_of(resolve_device()).has_own_memory
        or possible(limits, config, recorded=True) is None
    ):
        return ON_CPU
    try:
        folder_of(config.model)
    except ValueError as error:
        log.warning("the page begins with %s: %s", RaceConfig.model, error)
        return ON_CPU
    return ON_GPU


IN_QUERY = (*(name for name in SetUpControls._fields if name not in ("lanes", "settings")), *NAMES_OF_SETTINGS)
"""Names of a set-up in a link beside ``lane``; each may occur once."""


def rows_of(lanes: Sequence[Lane]) -> list[dict[str, Any]]:
    """Return the rows of the page's table: one for neighbours that differ only in their seed.

    Keys without a column are the ``rest``.

    >>> rows_of([Lane("olora", lr=1e-3, r=8)])
    [{'init': 'olora', 'r': 8, 'alpha': '', 'lr': '1e-3', 'seed': '0'}]
    >>> rows_of(parse_lanes("recipe:unsloth"))[0]["rest"]
    'weight_decay=1e-3,clip=1,label=unsloth,targets=all,schedule=linear,warmup=0.1'
    """
    return [
        {
            "init": lane.init,
            "r": lane.r,
            "alpha": setting_text(lane.alpha),
            "lr": FAIR if lane.fair else exact(lane.lr),
            "seed": write_seeds([lane.seed, *(other.seed for other in others)]),
            **({"rest": rest} if (rest := _rest(lane)) else {}),
        }
        for lane, *others in runs_of_seeds(lanes)
    ]


def _rest(lane: Lane) -> str:
    """Return the keys of a lane for which the table has no column, as a SPEC has them."""
    _rate, _rank, *rest = write_lane(replace(lane, lr=Lane.lr, r=Lane.r, alpha=None, seed=0, fair=False)).split(",")
    return ",".join(rest)


def possible(limits: Limits, config: RaceConfig, *, recorded: bool = False) -> SetUp | None:
    """Return the set-up of a race, or of a recorded one, see `of_recording`; None if the server's limits forbid it."""
    try:
        setup = of_recording(config) if recorded else SetUp.of(config)
        setup.to_config(limits)
    except ValueError:
        return None
    return setup


def setup_of(limits: Limits, run: Access) -> SetUp | None:
    """Return the set-up of a run, or None if the controls cannot show it.

    That of a recorded run, or of one that the owner opened, is shown only if this server may race it.
    """
    if run.race and run.forgettable:
        return SetUp.of_page(run.race.config)
    return possible(limits, run.record.config, recorded=run.record.recorded)


def of_recording(config: RaceConfig) -> SetUp:
    """Return a recorded race's set-up, with the page's own more settings, as it may have been evaluated more rarely.

    What it learns from stays.
    """
    settings = replace(PLAIN_SETTINGS, objective=config.objective, samples=config.samples)
    return replace(SetUp.of(config), settings=settings)
