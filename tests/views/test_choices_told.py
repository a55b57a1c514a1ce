"""What each choice is worth stands in a decision's report, on its page and on that of a study."""

import math
from pathlib import Path

import numpy as np
import pytest
from support.simulated_studies import World

from olora_viz.studies.budget import Plan
from olora_viz.studies.choices import worth_of_choices
from olora_viz.studies.decide import DONE, Decision
from olora_viz.studies.folder import Ledger
from olora_viz.studies.recommendation import recommend
from olora_viz.studies.study import Study
from olora_viz.studies.verdicts import Verdicts
from olora_viz.views.decision import figures, headline
from olora_viz.views.reports import report_html
from olora_viz.web.site.pages import study_page

TITLE = "What each choice is worth"
STARTS, SEVERAL = ("lora", "olora", "pissa"), ("lora", "olora", "lora:targets=mlp", "lora:alpha=2r")


def made(*methods: str) -> Verdicts:
    study = Study(compare=methods, tune={"lr": (3e-4, 1e-3, 3e-3, 1e-2)}, seeds=3)
    return World(np.random.default_rng(2), len(methods), 40, 40, names=methods).study(study)


def decision(found: Verdicts, folder: Path) -> Decision:
    Ledger(folder, found.study).open()
    plan = Plan(found.study, minutes=5, seconds=10, final=1, most=64)
    return Decision(folder, plan, DONE, found, recommend(found), len(found.rows), 20.0)


@pytest.mark.parametrize(("methods", "is_told"), [(SEVERAL, True), (STARTS, False)], ids=["choices", "starts alone"])
def test_a_decision_and_a_study_tell_what_choices_are_worth_where_more_than_starts_differ(
    methods: tuple[str, ...], is_told: bool, tmp_path: Path
) -> None:
    found = made(*methods)
    known = decision(found, tmp_path)
    worth = list(worth_of_choices(found).values())
    assert bool(worth) == is_told
    report = str(report_html(known, "number-words", "none"))
    assert (TITLE in report) == is_told
    drawn = figures(known)["differences"]["layout"]["meta"]["title"]
    assert drawn.startswith(TITLE) == is_told
    site = study_page("mine", found, {"studies/mine.html": "mine"})
    assert (TITLE in site.body) == is_told
    assert any(each["layout"]["meta"]["title"].startswith(TITLE) for each in site.figures.values()) == is_told
    for sentence in worth:
        assert sentence in headline(known).unescape()
        assert sentence in site.body.unescape()


def test_the_choices_of_a_decision_are_those_of_the_rank_that_is_taken(tmp_path: Path) -> None:
    study = Study(compare=("lora", "lora:alpha=2r"), across={"r": (4, 16)}, tune={"lr": (1e-3, 3e-3, 1e-2)}, seeds=3)
    found = World(np.random.default_rng(2), 2, 40, 40, names=study.compare).study(study)
    known = decision(found, tmp_path)
    assert known.taken is not None
    cell = known.taken.method.cell
    assert figures(known)["differences"]["layout"]["meta"]["title"] == f"{TITLE}: {cell.words()}"
    assert worth_of_choices(found)[cell.words()] in headline(known).unescape()
    assert math.isfinite(known.taken.method.test_loss)
