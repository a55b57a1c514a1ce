"""The order of the lanes, the tables of results, and the remarks below the sentences."""

import re
from dataclasses import replace

import numpy as np
import pytest
from support.steps import a_step, judged
from support.told import PAIR, RATES, SEEDS, steps

from olora_viz.background.record import ready_race
from olora_viz.figures import theme
from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig
from olora_viz.studies.ranking import standings
from olora_viz.studies.sentences import caveat
from olora_viz.tasks.evaluation import HeldOut
from olora_viz.views import html as fragments
from olora_viz.views.race import race_view
from olora_viz.views.results import Ranked, results


def test_accuracy_orders_the_lanes_and_the_loss_breaks_ties() -> None:
    loss = np.array([[0.5], [0.9], [1.5]]) * np.ones((1, 4))
    right = np.array([[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]])
    made = [judged(a_step(1, loss.mean(1)), loss, right)]
    assert [row.lane for row in standings(made, 3, by_loss=False)] == [1, 2, 0]
    assert [row.lane for row in standings(made, 3, by_loss=True)] == [0, 1, 2]


@pytest.mark.parametrize("losses", [[], [0.4, 0.3, 0.2, 0.1]])
def test_standings_hold_the_newest_evaluation_and_the_first_gradient(losses: list[float]) -> None:
    made = steps([0.5, 0.5, 0.5, 0.4], losses, first_norms=[1, 2, 3, 4])
    rows = {row.lane: row for row in standings(made, 4)}
    assert rows[3].loss == pytest.approx(losses[3] if losses else 0.4, abs=1e-3)
    assert rows[2].first_grad_norm == 3


@pytest.mark.parametrize(
    ("lanes", "seeds"),
    [
        (PAIR, "this run, one seed each."),
        (RATES, "this run, one seed each."),
        (SEEDS, "this run, for some lanes one seed only."),
        ((Lane("lora", seed=0), Lane("olora", seed=1)), "this run, one seed each."),
        ((Lane("lora", r=2), Lane("lora", r=4, seed=1)), "this run, one seed each."),
        ((*SEEDS, Lane("pissa")), "this run, for some lanes one seed only."),
    ],
)
def test_the_caveat_counts_what_was_repeated(lanes: tuple[Lane, ...], seeds: str) -> None:
    assert seeds in caveat(lanes)


def test_seeds_of_a_start_without_random_numbers_count_where_their_batches_vary() -> None:
    assert "this run, 3 seeds each." in caveat(SEEDS, by_seed=True)
    assert "The batches vary by seed." in caveat(SEEDS, by_seed=True)
    assert "vary by seed" not in caveat(SEEDS[:1], by_seed=True)
    assert "one run, on shared batches" in caveat(SEEDS)


@pytest.mark.parametrize(("plain_text", "unit"), [(False, "answer token"), (True, "token")])
def test_the_table_beside_the_story_names_what_a_loss_is_counted_in(plain_text: bool, unit: str) -> None:
    record = replace(ready_race(RaceConfig(lanes=PAIR)), state="waiting", plain_text=plain_text)
    assert f'title="nats per {unit}"' in results(Ranked(record, theme.lane_styles(PAIR), standings([], 2)))
    assert f'title="nats per {unit}"' in race_view(record).results


def test_the_table_says_on_how_much_it_rests_and_what_guessing_gets() -> None:
    right = np.zeros((6, 40))
    right[3:, :30] = 1
    loss = np.random.default_rng(0).uniform(0.5, 1, (6, 40))
    steps, held_out = (judged(a_step(1, loss.mean(1)), loss, right),), HeldOut(40, 0.4, "always “sad”", 80, 80)
    record = replace(ready_race(RaceConfig(lanes=SEEDS)), state="waiting", steps=steps, held_out=held_out)
    table = str(race_view(record).results)
    assert "40 held-out prompts, 3 seeds; sorted by accuracy, ties by loss</span>" in table, "no rates are chosen"
    assert "always “sad”" in table
    assert re.search(r"75%.*?60–86", table)


def test_boilerplate_is_said() -> None:
    words = HeldOut(64, 0.6, "always “true”", 6 * 64, 64).boilerplate
    assert "Of 6 supervised tokens per answer, 1 differs" in words
    assert HeldOut(64, 0.6, "always “true”", 64, 64).boilerplate == ""
    assert fragments.remark(words)
