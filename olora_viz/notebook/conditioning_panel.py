"""A panel with the gradient norm and curvature of every start."""

from __future__ import annotations

import re
import secrets

from olora_viz.background.measurement import BackgroundMeasurement, start_config
from olora_viz.figures.start import comparison_figure, ntk_figure
from olora_viz.figures.theme import start_styles
from olora_viz.machine.checks import expect
from olora_viz.machine.wording import percent
from olora_viz.measures.conditioning import Conditioning
from olora_viz.notebook.panel import ConfiguredPanel
from olora_viz.notebook.setup import OF_SETUP, Node, bar, box, button, card, charts, controls, html
from olora_viz.races.config import RaceConfig
from olora_viz.views import conditioning as words
from olora_viz.views import html as fragments
from olora_viz.views.runs import setup_words

FOOT = "Measured on the first batch, one seed of the data: other batches differ."


class ConditioningPanel(ConfiguredPanel):
    """Measure the gradient norm and curvature of every lane at initialization.

    Lanes that differ only in their rate are measured once. Its traits `state` and `config` may be observed and linked.

    Args:
        config: the initial set-up; None for that of the page.
        name: see `RacePanel`.

    Examples:
        >>> from olora_viz.notebook import ConditioningPanel
        >>> panel = ConditioningPanel()
        >>> panel
        ConditioningPanel: ready
    """

    def __init__(self, config: RaceConfig | None = None, *, name: str | None = None) -> None:
        self._job: BackgroundMeasurement | None = None  # pyrefly: ignore[bad-override-mutable-attribute]
        if config is not None:
            expect(config, RaceConfig, OF_SETUP)
        super().__init__(start_config(config or RaceConfig()), name)
        self._show()

    def start(self) -> None:
        """Measure the starts of the set-up that the controls show, in a thread.

        Raises:
            ValueError: the set-up is invalid, or a measurement is running.
        """
        if self.is_busy:
            raise ValueError("this panel is already measuring: stop() ends that")
        config, self._problem = start_config(self._setup.config), ""
        self._job = BackgroundMeasurement(
            secrets.token_hex(4), config, None, start_styles(config.lanes), listen=self._follow
        )
        self._keep_config(config)
        self._job.start()

    def result(self) -> Conditioning:
        """Wait for the measurement and return it.

        Raises:
            ValueError: there is none, it failed, or it was stopped.
        """
        job = self._job
        if job is None:
            raise ValueError("nothing was measured: press Measure the start, or call start()")
        job.wait()
        if job.result is None:
            raise ValueError(f"nothing was measured: {job.note or 'it was stopped'}") from job.error
        return job.result

    @property
    def found(self) -> Conditioning | None:
        """The measurement of the lanes of `config`; None before it is made."""
        return self._job.result if self._job else None

    def _tree(self) -> Node:
        buttons = bar(button("measure", "Measure the start", kind="primary"), button("stop", "■ Stop"))
        middle = box(
            card(charts("comparison")), card(charts("ntk")),
            box(card(html("story")), card(html("numbers")), kind="two"), kind="middle",
        )  # fmt: skip
        return box(buttons, box(controls(), middle, kind="body"))

    def _act(self, button: str) -> None:
        if button == "measure":
            self.start()
        elif button == "stop":
            self.stop()

    def _draw(self) -> None:
        job, measured = self._job, self.found
        styles, run = start_styles((job.config if job else self._first).lanes), str(id(measured))
        figures = {
            "comparison": comparison_figure(styles, measured, run=run), "ntk": ntk_figure(styles, measured, run=run),
        }  # fmt: skip
        sentences = words.story_of(styles, measured) if measured else []
        values = {
            "status": self._line(),
            "story": fragments.sentences(sentences, FOOT) if measured else words.story_before(),
            "numbers": words.numbers(styles, measured) if measured else words.numbers_before(),
            "measure": {"disabled": self.is_busy}, "stop": {"disabled": not self.is_busy},
            **{name: [name] for name in figures},
        }  # fmt: skip
        self._tell(values | self._of_setup(), figures)
        if job and job.complete and measured is not None:
            text = re.sub(r"<[^>]+>", "", " ".join(map(str, sentences)))
            self._keep_still(list(figures.values()), f"{self._words()}\n{text}")

    def _line(self) -> str:
        """Return the state and the progress."""
        job = self._job
        if self._problem:
            return fragments.problem(self._problem)
        if job is None or not job.note:
            return fragments.status(self._phase[0])
        part = "" if job.complete else f"{percent(job.part)} "
        return fragments.status(job.state, f"{part}{job.note}")

    def _origin(self) -> str:
        return setup_words(self._job.config if self._job else self._first)

    def _words(self) -> str:
        return f"ConditioningPanel: {self._phase[0]}"
