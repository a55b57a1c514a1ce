"""What stands in the set-up is what races, after any sequence of clicks, links, Back and reload."""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from playwright.sync_api import Browser, Page, expect
from support.served import launched
from support.shared import PLOT, forget

from olora_viz.lanes.lane import runs_of_seeds
from olora_viz.tasks.files import FILE_FORMATS
from olora_viz.web import page as web
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.setup import PLAIN_SETTINGS, YOUR_FILE, SetUp, rows_of
from olora_viz.web.race.presets import PRESETS

LIMITS = Limits()
FIRST = SetUp.first(LIMITS)
ROWS = [{"prompt": f"{n} and {n + 1} make", "answer": f" {2 * n + 1}"} for n in range(40)]
FILE = {"name": "mine.jsonl", "mimeType": "application/json", "buffer": "\n".join(map(json.dumps, ROWS)).encode()}
OWN = "your file (40 examples)"
STORY = "On day {} the old king walked to the sea and counted white birds. "
TEXT = {"name": "mine.txt", "mimeType": "text/plain", "buffer": "".join(map(STORY.format, range(30))).encode()}

SHOWN = """() => {
  const value = (id) => document.querySelector(`#setup-${id} input`).value;
  const rows = [...document.querySelectorAll("#lanes tbody tr")].map((row) => ({
    init: row.querySelector("select").value,
    r: row.querySelector(".r").value, alpha: row.querySelector(".alpha").value,
    lr: row.querySelector(".lr").value, seed: row.querySelector(".seed").value,
  }));
  return { model: value("model"), task: value("task"), steps: value("steps"),
           batch: value("batch"), seed: value("seed"), lanes: rows };
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[Jobs]]]:
    """Serve the page, and give the queue that its races go to."""
    made: list[Jobs] = []

    def queue(*args: Any, **more: Any) -> Jobs:
        made.append(Jobs(*args, **more))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "Jobs", queue)
        with launched(web.build()) as url:
            yield url, made


def words(setup: SetUp) -> dict[str, Any]:
    """Return what the controls show of a set-up."""
    task = OWN if setup.task == YOUR_FILE else setup.task.replace("-", " ")
    lanes = [{key: str(value) for key, value in row.items()} for row in rows_of(setup.lanes)]
    numbers = {name: str(getattr(setup, name)) for name in ("steps", "batch", "seed")}
    return {"model": f"{setup.model} · 0.85M", "task": task, **numbers, "lanes": lanes}


class Walk(RuleBasedStateMachine):
    """A visitor who clicks about; `setup` is what must stand on the page."""

    url: str
    page: Page
    jobs: list[Jobs]

    @initialize()
    def arrive(self) -> None:
        self.setup, self.edited = FIRST, False
        self.page.goto(f"{self.url}/favicon.ico")  # a page of this server that loads nothing
        self.page.evaluate("sessionStorage.clear(), localStorage.clear()")
        self.page.goto(self.url)
        self.page.wait_for_selector(PLOT)

    def become(self, **changes: Any) -> None:
        """Expect a set-up; the address of a page that was never changed is short."""
        setup = replace(self.setup, **changes)
        self.edited |= setup != self.setup
        self.setup = setup

    @rule(preset=st.sampled_from([p for p in PRESETS if len(p.lanes) <= 12]))
    def press_a_preset(self, preset: Any) -> None:
        self.visit("race")
        self.page.get_by_role("button", name=preset.title).click()
        task = self.setup.task if self.setup.task == YOUR_FILE else preset.task
        lanes = tuple(preset.lanes)
        settings = replace(PLAIN_SETTINGS, objective=preset.objective)
        steps, batch = preset.steps, preset.batch
        self.become(model=preset.model, task=task, steps=steps, batch=batch, lanes=lanes, settings=settings)

    @rule(steps=st.sampled_from([3, 7]))
    def type_the_steps(self, steps: int) -> None:
        self.visit("race")
        self.page.get_by_label("Steps", exact=True).fill(str(steps))
        self.page.get_by_label("Steps", exact=True).press("Tab")
        self.become(steps=steps)

    @rule(clip=st.sampled_from([None, 0.5]))
    def clip_the_gradients(self, clip: float | None) -> None:
        self.visit("race")
        fold = self.page.locator("#more-settings details")
        fold.evaluate("it => { it.open = true }")
        fold.get_by_label("Gradient clipping").fill(str(clip or ""))
        self.become(settings=replace(self.setup.settings, clip=clip))
        expect(fold.locator(".changed")).to_have_text(" · 1 changed" if clip else "")

    @rule(rates=st.sampled_from([("1e-3",), ("1e-3", "3e-3")]))
    def type_rates(self, rates: tuple[str, ...]) -> None:
        self.visit("race")
        field = self.page.get_by_label("learning rate, lane 1", exact=True)
        field.fill("/".join(rates))
        field.press("Tab")
        first, *others = runs_of_seeds(self.setup.lanes)
        its = (replace(lane, lr=float(rate)) for rate in rates for lane in first)
        self.become(lanes=(*its, *itertools.chain(*others)))

    @rule()
    def choose_an_own_file(self) -> None:
        self.visit("race")
        self.page.locator("#setup-file input").set_input_files([FILE])
        expect(self.page.locator("#setup-task input")).to_have_value(OWN)
        self.become(task=YOUR_FILE)

    @rule(task=st.sampled_from(["addition", "sentiment"]))
    def choose_a_task(self, task: str) -> None:
        self.visit("race")
        self.page.locator("#setup-task input").click()
        self.page.get_by_role("option", name=task, exact=True).click()
        self.become(task=task)

    @rule(name=st.sampled_from(["spectrum", "conditioning", "learn", "race"]))
    def visit(self, name: str) -> None:
        self.page.locator(f"#navigation a[href='#{name}']").click()
        expect(self.page.locator("html")).to_have_attribute("data-page", name)

    @precondition(lambda self: "#" in self.page.url)
    @rule()
    def go_back_and_forth(self) -> None:
        shown = self.page.locator("html").get_attribute("data-page")
        for way in ("back", "forward"):
            # The page's own listener is the older one.
            self.page.evaluate(
                f"""() => new Promise((done) => {{
                    addEventListener("hashchange", done, {{ once: true }});
                    history.{way}();
                }})"""
            )
        assert self.page.locator("html").get_attribute("data-page") == shown

    @rule()
    def reload(self) -> None:
        self.settle()
        self.page.reload()
        self.page.wait_for_selector("#lanes tbody tr", state="attached")

    @rule(reloads=st.booleans())
    def race(self, reloads: bool) -> None:
        self.type_the_steps(3)
        self.settle()
        known = len(self.jobs[0]._jobs)
        self.page.click("#reset-button")
        expect(self.page.locator("#status .state")).to_have_text("ready")
        self.page.click("#race-button")
        expect(self.page.locator("#status .state")).not_to_have_text("ready")
        if reloads:
            self.reload()
        expect(self.page.locator("#status .state")).to_have_text("finished")
        assert len(self.jobs[0]._jobs) == known + 1
        raced = SetUp.of(list(self.jobs[0]._jobs.values())[-1].work.config)
        own = raced.task.startswith(YOUR_FILE)
        assert replace(raced, task=YOUR_FILE if own else raced.task) == self.setup

    def teardown(self) -> None:
        """End every walk with a race of what the page shows."""
        if hasattr(self, "setup"):
            self.race(reloads=False)

    @invariant()
    def the_set_up_and_the_address_are_what_was_set(self) -> None:
        if hasattr(self, "setup"):
            self.settle()

    def settle(self) -> None:
        wanted = words(self.setup)
        self.page.wait_for_function(
            f"(wanted) => JSON.stringify(({SHOWN})()) === wanted",
            arg=json.dumps(wanted, separators=(",", ":"), ensure_ascii=False),
        )
        if self.edited:
            self.page.wait_for_function("(query) => window.location.search === `?${query}`", arg=self.setup.to_query())


@pytest.fixture
def visitor(browser: Browser, server: tuple[str, list[Jobs]]) -> Iterator[Page]:
    """A new visitor, whose browser has the page's scripts from the one before."""
    page = browser.contexts[0].new_page()
    yield page
    forget(page, server[0])


def test_a_random_walk_never_loses_or_swaps_the_set_up(visitor: Page, server: tuple[str, list[Jobs]]) -> None:
    Walk.url, Walk.jobs = server
    Walk.page = visitor
    run_state_machine_as_test(
        Walk,
        settings=settings(max_examples=2, stateful_step_count=9, deadline=None, derandomize=True, print_blob=False),
    )
    assert Walk.jobs[0]._jobs


def test_answers_to_an_own_file_are_scored_by_the_metric_that_is_chosen(
    visitor: Page, server: tuple[str, list[Jobs]]
) -> None:
    page = visitor
    page.goto(f"{server[0]}?view=workbench&steps=4&lane=lora&lane=olora")
    page.wait_for_selector(PLOT)
    page.locator("#setup-file input").set_input_files([FILE])
    expect(page.locator("#setup-task input")).to_have_value(OWN)
    page.locator("#more-settings summary").click()
    metric = page.locator("#more-settings select[name=metric]")
    metric.select_option(label="chrF")
    expect(page.locator("#more-settings .changed")).to_have_text(" · 1 changed")
    page.click("#race-button")
    scored = page.locator("#results table").filter(has=page.locator("th[title*='generated answers']", has_text="chrf"))
    expect(scored.locator("tbody tr")).to_have_count(3)  # two lanes and the base model
    scores = [float(text) for text in scored.locator("tbody tr > :nth-child(2)").all_text_contents()]
    assert len(scores) == 3
    assert all(0 <= score <= 1 for score in scores)
    page.goto(f"{server[0]}?lane=lora&metric=number:0.01")
    expect(metric).to_have_value("number:0.01")
    page.wait_for_url("**metric=number:0.01*")


def test_files_that_are_refused_leave_the_ones_before_them_in_the_set_up_and_after_a_reload(
    visitor: Page, server: tuple[str, list[Jobs]]
) -> None:
    page = visitor
    page.goto(server[0])
    page.wait_for_selector(PLOT)
    chosen, said = page.locator("#setup-task input"), page.locator("#setup-file .said")
    tokens = page.locator("#setup-sample .tokens").first
    page.locator(".formats summary").click()
    expect(page.locator(".formats pre")).to_have_count(len(FILE_FORMATS))
    expect(page.locator(".formats pre").last).to_be_visible()
    for _ in range(2):
        page.locator("#setup-file input").set_input_files([FILE])
        expect(said).to_contain_text("held out")
        page.locator("#setup-file input").set_input_files([FILE | {"buffer": b"{"}])
        expect(said.locator(".problem")).to_be_visible()
        expect(chosen).to_have_value(OWN)
        expect(tokens).to_have_text("0 and 1 make 1<eos>")
    keep = page.locator("#more-settings select[name=keep]")
    for text, expected in ((TEXT, "Chosen as the text to keep"), (TEXT | {"buffer": b"Hello."}, "at least 200")):
        page.locator("#setup-text input").set_input_files([text])
        expect(page.locator("#setup-text .said")).to_contain_text(expected)
        expect(keep).to_have_value(re.compile("file:"))
    page.wait_for_url("**keep=your-file*")
    page.reload()
    expect(chosen).to_have_value(OWN)
    expect(keep).to_have_value(re.compile("file:"))
    expect(keep.locator("option:checked")).to_have_text("your file")
    expect(tokens.locator("mark")).to_have_text([" ", "1", "<eos>"])
    page.locator("#setup-model input").click()
    page.get_by_role("option", name="glassllm-pt").click()
    expect(page.locator("#setup-sample")).to_contain_text("as glassllm-pt reads them")
    page.locator("#more-settings summary").click()
    for value, words in (("1", "glassllm-pt' has no chat template"), ("0", "reads them")):
        page.locator("#more-settings select[name=chat]").select_option(value)
        expect(page.locator("#setup-sample")).to_contain_text(words)
    page.locator("#setup-task input").click()
    page.get_by_role("option", name="addition", exact=True).click()
    expect(tokens).to_have_count(0)
