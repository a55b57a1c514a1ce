"""A metric that is a Python function: a run keeps its name, and goes on with the same function alone."""

import re
import runpy
import warnings

import pytest
from support.races import small

import olora_viz as ov
from olora_viz.races.config import Settings, setup_facts
from olora_viz.races.export import export_lane
from olora_viz.races.run import restored
from olora_viz.races.script import olora_viz_script, peft_script


def shares_a_letter(answer, right):
    return bool(set(answer) & set(right))


def test_a_metric_of_ones_own_scores_and_of_it_the_name_is_saved(tmp_path):
    race = ov.race(small(metric=shares_a_letter))
    list(race)
    assert race.summary()["held_out"]["metric"] == "shares_a_letter"
    assert 0 <= race.summary()["base"]["test_score"] <= 1
    race.save(tmp_path / "run")
    config = ov.load_run(tmp_path / "run").config
    assert config == race.config.replace(metric="python:shares_a_letter")
    assert ov.compare_setups([config, race]).empty
    assert setup_facts(config)["metric"] == "shares_a_letter"
    assert Settings.of(config) == Settings.of(race.config)


def test_without_its_function_a_run_is_read_and_written_and_only_what_scores_is_refused(tmp_path):
    gone = "^the metric 'shares_a_letter' was a Python function, and only"
    race = ov.race(small(metric=shares_a_letter))
    list(race)
    race.save(tmp_path / "run")
    config, here = ov.load_run(tmp_path / "run").config, restored(tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_lane(here, "lora", tmp_path / "adapter")
    assert here.summary()["held_out"]["metric"] == "shares_a_letter"
    assert here.summary()["base"]["test_score"] is None
    assert re.match(gone, here.summary()["metric_failed"])
    assert olora_viz_script(config) == olora_viz_script(race.config)
    (script,) = {peft_script(each.replace(objective="reinforce")) for each in (config, race.config)}
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    for scores in (
        lambda: ov.race(config),
        lambda: ov.resume_run(tmp_path / "run", steps=6),
        lambda: ov.chain(config, ["sentiment", "uppercase"]).__next__(),
        lambda: runpy.run_path(str(tmp_path / "script.py"), run_name="__main__"),
    ):
        with pytest.raises(ValueError, match=gone):
            scores()


def test_a_run_goes_on_bitwise_with_its_function_and_with_no_other_one(tmp_path):
    def other(answer, right):
        return 0.5 * shares_a_letter(answer, right)

    config = small(metric=shares_a_letter, objective="reinforce", task="sentiment", samples=3)
    whole, begun = ov.race(config), ov.race(config)
    steps, _ = list(whole), next(begun)
    begun.save(tmp_path / "run")
    begun.lanes.detach()
    for metric in (other, "exact"):
        with pytest.raises(
            ValueError, match=r"keeps its metric, 'python:shares_a_letter': it is not '(python:other|exact)'"
        ):
            ov.resume_run(tmp_path / "run", metric=metric)
    other.__name__ = "shares_a_letter"
    with pytest.raises(ValueError, match=r"'python:shares_a_letter' has changed since the run in .* started"):
        ov.resume_run(tmp_path / "run", metric=other)
    run = ov.resume_run(tmp_path / "run", metric=shares_a_letter)
    assert list(run) == steps[1:]
    assert run.race.summary()["base"]["test_score"] == whole.summary()["base"]["test_score"]


def test_a_chain_goes_on_with_its_function(tmp_path):
    config, tasks = (
        small(metric=shares_a_letter, objective="reinforce", samples=2, steps=2),
        ["sentiment", "uppercase"],
    )
    whole = ov.chain(config, tasks)
    steps = [step for link in whole for step in link]
    next(iter(next(ov.chain(config, tasks, folder=tmp_path / "chain"))))
    with pytest.raises(ValueError, match="'shares_a_letter' was a Python function"):
        next(ov.resume_chain(tmp_path / "chain"))
    with pytest.raises(ValueError, match="it is not 'exact'"):
        ov.resume_chain(tmp_path / "chain", metric="exact")
    again = ov.resume_chain(tmp_path / "chain", metric=shares_a_letter)
    assert [step for link in again for step in link] == steps[1:]
    assert again.links == whole.links
