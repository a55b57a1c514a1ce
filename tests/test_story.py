"""The sentences beside the charts follow from the numbers, also where these change sides."""

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steps import a_step

from olora_viz.figures import theme
from olora_viz.initializers import label_of
from olora_viz.lanes.labels import display_names
from olora_viz.lanes.lane import Lane
from olora_viz.machine.numbers import compact
from olora_viz.races.config import DEFAULT_LANES, RaceConfig
from olora_viz.races.step import Step
from olora_viz.studies import story
from olora_viz.views import html as fragments
from olora_viz.views.race import race_view
from olora_viz.web.jobs.queue import Job

NAN = math.nan
RATES = (
    Lane("lora", lr=1e-3), Lane("lora", lr=3e-3), Lane("olora", lr=1e-3), Lane("olora", lr=3e-3),
)  # fmt: skip
PAIR = (Lane("lora"), Lane("olora"))
SEEDS = tuple(Lane(init, seed=seed) for init in ("lora", "olora") for seed in (0, 1))


def steps(*held_out: list[float], first_norms: list[float] | None = None) -> list[Step]:
    """One step per list of held-out losses; an empty list is a step without evaluation."""
    lanes = max(len(losses) for losses in held_out) if any(held_out) else len(first_norms or [])
    made = []
    for n, losses in enumerate(held_out, start=1):
        loss = np.array(losses) if losses else np.full(lanes, 5.0)
        made.append(
            a_step(
                n, loss, first_norms, seconds=n, tokens=n,
                eval_loss=loss.copy() if losses else None,
                eval_accuracy=np.exp(-loss) if losses else None,
            )
        )  # fmt: skip
    return made


def told(lanes: tuple[Lane, ...], made: list[Step]) -> str:
    return " ".join(map(str, story.tell(lanes, display_names(lanes), made)))


VERDICT = re.compile(
    r"(?:At one shared rate \((?P<shared>\S+)\) |Each at [a-z ]+, )?"
    r"(?P<mine>.+?)(?: \((?P<lr>[^ ,]+?)(?:, its only rate)?\))? is (?P<verdict>(?:far )?\S+)"
    r"(?: of| with)? (?P<theirs>.+?)(?: \((?P<their_lr>[^ ,]+?)(?:, its only rate)?\))?"
    r"(?:, the next best)?: .*?(?P<a>\d+\.\d\d) against (?P<b>\d+\.\d\d)"
)
GRADIENTS = re.compile(
    r"^(?P<mine>.+)'s first gradient is (?P<factor>twice|.+ times) (?P<theirs>\S.*)'s\.$",
    re.MULTILINE,
)


def verdicts(lanes: tuple[Lane, ...], made: list[Step]) -> list[dict[str, str | None]]:
    """Who is said to be ahead of, behind or level with whom, at which rates, by which losses."""
    found = map(VERDICT.match, map(str, story.tell(lanes, display_names(lanes), made)))
    return [match.groupdict() for match in found if match]


def rivals(said: dict[str, str | None]) -> tuple[str | None, ...]:
    """Both sides of a verdict, each with the rate that it is judged at, and the verdict."""
    at, other = (said["shared"] or said[key] for key in ("lr", "their_lr"))
    return said["mine"], at, said["verdict"], said["theirs"], other


def first_gradients(lanes: tuple[Lane, ...], made: list[Step]) -> list[tuple[str, ...]]:
    """Whose first gradient is said to be how much larger than whose."""
    found = map(GRADIENTS.search, map(str, story.tell(lanes, display_names(lanes), made)))
    return [match.group("mine", "factor", "theirs") for match in found if match]


def test_before_the_first_evaluation_it_says_that_all_start_equal() -> None:
    made = steps([], first_norms=[1.0, 1.0, 4.7, 4.7])
    text = told(RATES, made)
    assert "same function" in text
    assert f"{made[0].loss[0]:.2f} nats" in text
    assert first_gradients(RATES, made) == [("OLoRA", "4.7 times", "LoRA")]
    assert verdicts(RATES, made) == []


def test_the_default_race_is_told_on_a_side_card() -> None:
    held_out = [0.571, 0.438, 0.491, 0.382, 0.505]
    made = steps(held_out, first_norms=[1.0, 1.0, 4.7, 4.7, 5.0])
    text = told(DEFAULT_LANES, made)
    shared, best = verdicts(DEFAULT_LANES, made)
    low, high, olora_low, olora_high = (f"{loss:.2f}" for loss in held_out[:4])
    assert rivals(shared) == ("OLoRA", "1e-3", "ahead", "LoRA", "1e-3")
    assert (shared["a"], shared["b"]) == (olora_low, low)
    assert rivals(best) == ("OLoRA", "3e-3", "ahead", "LoRA", "3e-3")
    assert (best["a"], best["b"]) == (olora_high, high)
    assert f"overtakes it ({high})" in text
    assert "largest rate" in text
    assert first_gradients(DEFAULT_LANES, made) == [("OLoRA", "4.7 times", "LoRA")]
    assert len(text.split()) < 70


@pytest.mark.parametrize(
    ("faster", "outcome"), [(0.6, "still trails"), (0.4, "keeps up"), (0.3, "overtakes it")]
)
def test_a_rate_that_helps_the_rival_is_told_too(faster: float, outcome: str) -> None:
    made = steps([0.9, faster, 0.4, 0.2])
    assert rivals(verdicts(RATES, made)[0]) == ("OLoRA", "1e-3", "far ahead", "LoRA", "1e-3")
    assert re.search(rf"three times .*LoRA {outcome} \({faster:.2f}\)", told(RATES, made))


def test_the_story_turns_when_the_numbers_do() -> None:
    made = steps([0.3, 0.2, 0.8, 0.7])
    shared, best = map(rivals, verdicts(RATES, made))
    assert shared == ("OLoRA", "1e-3", "far behind", "LoRA", "1e-3")
    assert best == ("LoRA", "3e-3", "far ahead", "OLoRA", "3e-3")
    assert "three times" not in told(RATES, made)


def test_tiny_losses_are_level_whatever_their_ratio() -> None:
    shared, *_ = verdicts(RATES, steps([0.012, 0.010, 0.004, 0.001]))
    assert rivals(shared) == ("OLoRA", "1e-3", "level", "LoRA", "1e-3")


@pytest.mark.parametrize(
    ("held_out", "whose"),
    [
        ([0.9, 0.4, 0.4, 0.2], "Both"),
        ([0.4, 0.9, 0.4, 0.2], "OLoRA"),
        ([0.4, 0.9, 0.2, 0.4], None),
        ([0.0011, 0.0010, 0.0011, 0.0010], None),
        ([1.05, 1.0, 0.52, 0.5], None),
        ([0.9, 0.4, 0.4, NAN], "LoRA"),
    ],
)
def test_a_larger_rate_is_advised_only_where_the_largest_is_clearly_the_best(
    held_out: list[float], whose: str | None
) -> None:
    found = re.findall(r"(\w+) (?:do|does) best at the largest rate", told(RATES, steps(held_out)))
    assert found == ([] if whose is None else [whose])


def test_with_one_rate_for_all_the_leader_and_the_next_are_named() -> None:
    lanes = (Lane("pissa"), Lane("milora"), Lane("sketch"))
    *_, said = verdicts(lanes, steps([0.5, 0.9, 0.4]))
    assert rivals(said) == ("Sketch", None, "ahead", "PiSSA", None)


def test_what_the_shared_rate_has_shown_is_not_said_twice() -> None:
    assert told(PAIR, steps([0.5, 0.4])).count("ahead of") == 1


def test_one_rate_per_start_is_not_called_the_best_of_several() -> None:
    lanes = (Lane("lora", lr=1e-3), Lane("olora", lr=3e-3))
    (said,) = verdicts(lanes, steps([0.9, 0.4]))
    assert rivals(said) == ("OLoRA", "3e-3", "far ahead", "LoRA", "1e-3")
    assert "best rate" not in told(lanes, steps([0.9, 0.4]))
    lanes, made = (*RATES, Lane("pissa", lr=1e-3)), steps([0.9, 0.8, 0.7, 0.6, 0.3])
    assert rivals(verdicts(lanes, made)[-1]) == ("PiSSA", "1e-3", "far ahead", "OLoRA", "3e-3")
    assert "PiSSA (1e-3, its only rate)" in told(lanes, made)


@pytest.mark.parametrize(
    ("held_out", "sentence"),
    [
        ([0.3, 0.5], "OLoRA does better at the rate 1e-3 than at 3e-3:"),
        ([0.5, 0.3], "a larger one may do better."),
        ([0.31, 0.3], "OLoRA does as well at the rate 3e-3 as at 1e-3:"),
        ([0.3, NAN], "OLoRA's held-out loss is 0.30 at step 1."),
    ],
)
def test_one_start_at_several_rates_is_told_too(held_out: list[float], sentence: str) -> None:
    lanes = (Lane("olora", lr=1e-3), Lane("olora", lr=3e-3))
    assert sentence in told(lanes, steps(held_out))


def test_a_single_lane_tells_its_loss_without_a_comparison() -> None:
    assert verdicts((Lane("olora"),), steps([0.3])) == []
    assert re.fullmatch("OLoRA.* 0.30 .*step 1.", told((Lane("olora"),), steps([0.3])))


def test_several_seeds_are_compared_by_their_means() -> None:
    made = steps([0.9, 0.4, 0.5, 0.39], first_norms=[1, 3, 7, 9])
    assert "means over 2 seeds" in told(SEEDS, made)
    (said,) = verdicts(SEEDS, made)
    assert rivals(said) == ("OLoRA", "1e-3", "ahead", "LoRA", "1e-3")
    assert (float(said["a"]), float(said["b"])) == pytest.approx((0.445, 0.65), abs=0.0051)
    assert first_gradients(SEEDS, made) == [("OLoRA", "4 times", "LoRA")]


def test_a_start_that_has_lost_a_seed_has_no_mean() -> None:
    text = told(SEEDS, steps([0.9, 0.4, 0.5, NAN]))
    assert "LoRA's held-out loss is 0.65" in text
    assert "0.50" not in text


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"r": 64}, "rank"),
        ({"alpha": 16}, "scaling"),
        ({"rslora": True}, "scaling"),
        ({"seed": 1}, "seed"),
        ({"weight_decay": 0.1}, "weight decay"),
        ({"clip": 1.0}, "clipping"),
    ],
)
def test_lanes_that_differ_in_more_than_start_and_rate_are_not_compared_as_starts(
    other: dict[str, float], what: str
) -> None:
    lanes = (Lane("lora"), Lane("olora", **other))
    text = told(lanes, steps([0.9, 0.4], first_norms=[1.0, 5.0]))
    assert not re.search("ahead|behind|level|gradient", text)
    assert "has the lowest held-out loss, then LoRA" in text
    assert f"0.40 against 0.90 at step 1. The two differ in start and {what}." in text
    assert "gradient" not in told(lanes, steps([], first_norms=[1.0, 5.0]))

    lanes = (*lanes, Lane("pissa", **other))
    text = told(lanes, steps([0.9, 0.4, 0.1], first_norms=[1.0, 5.0, 10.0]))
    assert re.search(r"Compared here: the lanes with .+, which differ only in start\.", text)
    assert "OLoRA is far behind PiSSA: held-out loss 0.40 against 0.10" in text
    assert "PiSSA's first gradient is twice OLoRA's." in text


@pytest.mark.parametrize(
    ("norms", "sentence"),
    [
        ([4.9, 141.0], "OLoRA's first gradient is 29 times LoRA, Gaussian A's."),
        ([141.0, 4.9], "LoRA, Gaussian A's first gradient is 29 times OLoRA's."),
        ([1.0, 1.04], "The first gradients of OLoRA and LoRA, Gaussian A are about equally large."),
        ([0.0, 1.0], None),
        ([NAN, 1.0], None),
    ],
)
def test_the_larger_first_gradient_is_said_in_multiples_of_the_smaller(
    norms: list[float], sentence: str | None
) -> None:
    text = told((Lane("gaussian"), Lane("olora")), steps([], first_norms=norms))
    assert ("first gradient" in text) == (sentence is not None)
    assert (sentence or "") in text


def test_the_first_loss_is_that_of_a_lane_that_has_one() -> None:
    assert "the loss is 4.00 nats" in told(PAIR, without_evaluation([NAN, 4.0]))
    assert "same function" not in told(PAIR, without_evaluation([NAN, NAN]))
    assert "same function" not in told(PAIR, without_evaluation([3.0, 4.0]))


def without_evaluation(loss: list[float]) -> list[Step]:
    return [a_step(1, loss)]


def test_a_diverged_lane_is_named_with_its_step_and_is_never_the_best() -> None:
    made = steps([0.9, 0.4, 0.4, 0.1], [0.9, 0.4, 0.4, NAN], [0.8, 0.4, 0.3, NAN])
    text = told(RATES, made)
    assert "OLoRA 3e-3 (step 2) is out of the race: its loss" in text
    assert "OLoRA (1e-3) is ahead of LoRA (3e-3): 0.30 against 0.40." in text
    rows = story.standings(made, 4)
    assert [row.lane for row in rows] == [2, 1, 0, 3]
    assert [row.out_at for row in rows] == [0, 0, 0, 2]


@pytest.mark.parametrize("out", range(5))
def test_all_who_are_out_are_told_of_once_and_so_are_those_who_are_left(out: int) -> None:
    text = told(RATES, steps([1.0] * 4, [NAN] * out + [1.0] * (4 - out)))
    assert text.count("out of the race") == (out > 0)
    assert text.count("The others are not affected.") == (0 < out < 4)
    assert text.count("No lane is left.") == (out == 4)
    assert text.count("(step 2)") == min(out, story.NAMED)
    assert text.count("and 1 more are out") == (out > story.NAMED)


@pytest.mark.parametrize("losses", [[], [0.4, 0.3, 0.2, 0.1]])
def test_standings_hold_the_newest_evaluation_and_the_first_gradient(losses: list[float]) -> None:
    made = steps([0.5, 0.5, 0.5, 0.4], losses, first_norms=[1, 2, 3, 4])
    rows = {row.lane: row for row in story.standings(made, 4)}
    assert rows[3].loss == pytest.approx(losses[3] if losses else 0.4)
    assert rows[2].first_grad_norm == 3


@pytest.mark.parametrize(
    ("lanes", "seeds"),
    [
        (PAIR, "this run, one seed each."),
        (RATES, "this run, one seed each."),
        (SEEDS, "this run, 2 seeds each."),
        ((Lane("lora", seed=0), Lane("olora", seed=1)), "this run, one seed each."),
        ((Lane("lora", r=2), Lane("lora", r=4, seed=1)), "this run, one seed each."),
        ((*SEEDS, Lane("pissa")), "this run, for some lanes one seed only."),
    ],
)
def test_the_caveat_counts_what_was_repeated(lanes: tuple[Lane, ...], seeds: str) -> None:
    assert seeds in story.caveat(lanes)


A_LANE = st.builds(
    Lane,
    init=st.sampled_from(["lora", "olora", "pissa", "gaussian"]),
    lr=st.sampled_from([1e-3, 3e-3, 2.5e-2]),
    r=st.sampled_from([8, 8, 64]),
    alpha=st.sampled_from([None, None, 64.0]),
    seed=st.sampled_from([0, 0, 1]),
    weight_decay=st.sampled_from([0.0, 0.0, 0.1]),
    clip=st.sampled_from([None, None, 1.0]),
)
any_race = given(
    lanes=st.lists(A_LANE, min_size=1, max_size=10).map(tuple),
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([0.01, 1.0, 20.0]),
)
often = settings(max_examples=400, deadline=None)


def race(lanes: tuple[Lane, ...], seed: int, scale: float) -> list[Step]:
    """One to four steps; some lanes diverge, some steps are evaluated."""
    rng, K = np.random.default_rng(seed), len(lanes)
    out_at = rng.choice([1, 2, 3, 9, 9, 9, 9, 9, 9], K)
    made = []
    for n in range(1, rng.integers(2, 6)):
        out = out_at <= n
        judged = rng.random() < 0.7
        made.append(
            a_step(
                n, np.where(out, NAN, 5.0 if n == 1 else rng.uniform(0.1, 6, K)),
                np.where(out, NAN, 10 ** rng.uniform(-2, 2, K)), seconds=n, tokens=n,
                eval_loss=np.where(out, NAN, scale * rng.uniform(0.1, 1, K)) if judged else None,
                eval_accuracy=np.where(out, NAN, 0.5) if judged else None,
            )
        )  # fmt: skip
    return made


def groups(lanes: tuple[Lane, ...]) -> Iterator[tuple[str, float, tuple, list[int]]]:
    """Every start at every rate with all its lanes of one setting and one choice of seeds."""
    for seeds in ({0}, {1}, {0, 1}):
        found: dict[tuple, list[int]] = {}
        for k, lane in enumerate(lanes):
            if lane.seed in seeds:
                rest = (lane.r, lane.scale, lane.weight_decay, lane.clip)
                found.setdefault((lane.init, lane.lr, rest), []).append(k)
        for (init, lr, rest), ks in found.items():
            if {lanes[k].seed for k in ks} == seeds:
                yield init, lr, (*rest, *seeds), ks


IN_WORDS = {"twice": 2, "three times": 3, "five times": 5, "ten times": 10}


@often
@any_race
def test_a_start_is_ahead_or_behind_only_of_lanes_that_are_like_it_in_all_but_the_rate(
    lanes: tuple[Lane, ...], seed: int, scale: float
) -> None:
    made = race(lanes, seed, scale)
    held_out = next((s.eval_loss for s in reversed(made) if s.eval_loss is not None), None)
    for sentence in map(str, story.tell(lanes, display_names(lanes), made)):
        if not re.search(r"\b(ahead|behind|level)\b", sentence):
            continue
        said = VERDICT.match(sentence)
        assert said is not None, sentence
        assert held_out is not None
        found = [
            (a, b)
            for (init, lr, rest, ks), (other, rate, same, js) in itertools.product(
                groups(lanes), repeat=2
            )
            if (label_of(init), label_of(other)) == said.group("mine", "theirs")
            and rest == same
            and compact(lr) == (said["shared"] or said["lr"] or compact(lr))
            and compact(rate) == (said["shared"] or said["their_lr"] or compact(rate))
            and f"{(a := held_out[ks].mean()):.2f}" == said["a"]
            and f"{(b := held_out[js].mean()):.2f}" == said["b"]
        ]
        assert found, sentence
        right = {"ahead": np.less, "behind": np.greater}.get(said["verdict"].split()[-1])
        assert right is None or any(right(a, b) for a, b in found)


@often
@any_race
def test_every_number_that_is_said_was_measured(
    lanes: tuple[Lane, ...], seed: int, scale: float
) -> None:
    made = race(lanes, seed, scale)
    text = told(lanes, made)
    assert not re.search(r"\b(nan|inf|infinity)\b", text, re.IGNORECASE)
    held_out = [s.eval_loss for s in made if s.eval_loss is not None][-1:]
    means = {f"{losses[ks].mean():.2f}" for losses in held_out for *_, ks in groups(lanes)}
    means |= {f"{loss:.2f}" for losses in held_out for loss in losses}
    assert set(re.findall(r"\b\d+\.\d\d\b", text.replace("5.00 nats", ""))) <= means
    assert set(re.findall(r"\d[\d.]*e-\d", text)) <= {compact(lane.lr) for lane in lanes}
    assert {int(n) for n in re.findall(r"step (\d+)", text)} <= {step.step for step in made}
    assert text.count("out of the race") == any(np.isnan(made[-1].loss))


@often
@any_race
def test_first_gradients_are_compared_among_lanes_that_are_alike(
    lanes: tuple[Lane, ...], seed: int, scale: float
) -> None:
    made = race(lanes, seed, scale)
    said = GRADIENTS.search("\n".join(map(str, story.tell(lanes, display_names(lanes), made))))
    if said is None:
        return
    places: dict[tuple[str, tuple], list[int]] = {}
    for init, _, rest, ks in groups(lanes):
        places.setdefault((label_of(init), rest), []).extend(ks)
    means = {key: made[0].grad_norm[ks].mean() for key, ks in places.items()}
    ratios = [
        float(f"{large / small:.2g}")
        for (mine, rest), large in means.items()
        for (theirs, same), small in means.items()
        if (mine, theirs) == said.group("mine", "theirs") and rest == same
    ]
    factor = IN_WORDS.get(said["factor"]) or float(said["factor"].removesuffix(" times"))
    assert factor > 1
    assert factor in ratios


@pytest.mark.parametrize(("plain_text", "unit"), [(False, "answer token"), (True, "token")])
def test_the_table_beside_the_story_names_what_a_loss_is_counted_in(
    plain_text: bool, unit: str, tmp_path: Path
) -> None:
    styles = theme.lane_styles(PAIR)
    table = fragments.results(styles, story.standings([], 2), plain_text=plain_text)
    assert f'title="nats per {unit}"' in table
    job = Job("id", RaceConfig(lanes=PAIR), tmp_path, styles, plain_text=plain_text)
    assert f'title="nats per {unit}"' in race_view(job).results
