"""Metrics of generated answers: against sacrebleu and seqeval, over several right answers, and of one's own."""

import random

import pytest
from sacrebleu.metrics import CHRF
from seqeval.metrics import f1_score
from support.races import small

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.tasks.files import own_task, sha256_of
from olora_viz.tasks.metrics import METRICS, chrf, f1, mean_score, metric_of, number
from olora_viz.tasks.rows import example_of

ROWS = [{"prompt": f"{a} plus {b} is", "answer": str(a + b)} for a in range(12) for b in range(a)]


def test_chrf_is_that_of_sacrebleu():
    rng, theirs = random.Random(0), CHRF()
    for _ in range(300):
        answer, right = ("".join(rng.choices("abc dé", k=rng.randrange(14))) for _ in range(2))
        assert chrf(answer, right + "a") == pytest.approx(theirs.sentence_score(answer, [right + "a"]).score / 100)


def test_f1_is_that_of_seqeval_on_the_tags_of_the_sentence():
    rng, words = random.Random(0), [f"N{i}" for i in range(6)]
    for _ in range(200):
        said, right = (
            {word: rng.choice(("person", "place", "firm")) for word in words if rng.random() < 0.6} for _ in range(2)
        )
        right[words[0]] = "place"
        tags = [[f"B-{spans[word]}" if word in spans else "O" for word in words] for spans in (right, said)]
        written = ["; ".join(map(": ".join, spans.items())) for spans in (said, right)]
        assert f1(*written) == pytest.approx(f1_score(tags[:1], tags[1:], zero_division=0))


@pytest.mark.parametrize("name", METRICS)
def test_a_right_answer_is_worth_one_and_an_empty_one_nothing(name):
    right = {"number": "12", "f1": "Ana: person"}.get(name, "big garden")
    assert METRICS[name](right, right) == 1
    assert METRICS[name]("", right) == 0


def test_a_number_is_right_within_its_tolerance():
    assert [number(answer, "-1,200") for answer in ("it is -1200.0.", "1200", "-1201")] == [1, 0, 0]
    assert metric_of("number:0.01")("1,210", "1200") == 1
    assert metric_of("number:0.001")("1,210", "1200") == 0


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("f2", "unknown metric 'f2'"),
        ("exact:2", "unknown metric 'exact:2'"),
        ("number:x", "the tolerance of a number is a share of at least 0, such as number:0.01, not 'x'"),
        ("number:-1", "not '-1'"),
        (None, "unknown metric 'None'"),
    ],
)
def test_what_is_no_metric_is_refused(metric, said):
    with pytest.raises(ValueError, match=said):
        small(metric=metric)


def test_any_of_several_right_answers_is_right_and_the_first_is_learned():
    one = example_of({"prompt": "1 + 1 =", "answer": "2"}, "here")
    for row in ({"answers": ["2", "two"]}, {"answer": ["2", "two"]}):
        several = example_of({"prompt": "1 + 1 ="} | row, "here")
        assert (several.prompt, several.answer, several.others) == (one.prompt, one.answer, ("two",))
        assert [mean_score("exact", [several], [said]) for said in ("2", "two", "three")] == [1, 1, 0]
    for wrong in ({"answers": "2"}, {"answers": []}, {"answers": ["2", 2]}, {"answers": ["2", ""]}):
        with pytest.raises(ValueError, match=r"^here: the field 'answers'"):
            example_of({"prompt": "1 + 1 ="} | wrong, "here")


def test_the_hash_of_a_task_tells_its_other_answers():
    others = [row | {"answer": [row["answer"], "many"]} for row in ROWS]
    assert sha256_of(own_task(others)) != sha256_of(own_task(ROWS))


def test_training_is_bitwise_the_same_with_any_metric():
    plain, scored = (ov.race(small(metric=metric)) for metric in ("auto", "exact"))
    assert [step.loss.tolist() for step in plain] == [step.loss.tolist() for step in scored]
    of_plain, of_scored = plain.summary(), scored.summary()
    assert "test_score" not in of_plain["base"]
    assert of_scored["held_out"]["metric"] == "exact"
    for label, lane in of_scored["lanes"].items():
        assert lane | {"test_score": None} == of_plain["lanes"][label] | {"test_score": None}


def test_the_score_is_that_of_the_answers_themselves():
    lanes = (ov.Lane("olora", lr=1e-2), ov.Lane("full", lr=3e-3))
    race = ov.race(small(lanes, task="sentiment", steps=12, batch_size=16, test_size=40, metric="exact"))
    list(race)
    # The answers of this task are a word, so that an answer is right if its first tokens are, as in accuracy.
    assert race.tested().lanes.score == pytest.approx(race.tested().lanes.accuracy)
    assert race.tested().lanes.score.max() > 0.4


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (lambda answer, right: None, "must return a number from 0 to 1, not None"),
        (lambda answer, right: 2, "not 2"),
        (lambda answer, right: float("nan"), "not nan"),
        (lambda answer, right: {}["x"], "raised KeyError: 'x'"),
    ],
)
def test_a_metric_that_fails_names_the_example_and_loses_nothing(metric, said):
    race = ov.race(small(metric=metric))
    with pytest.warns(UserWarning, match=said):
        assert len(list(race)) == 4
    summary = race.summary()
    assert race.task.test[0].prompt in summary["metric_failed"]
    for lane in summary["lanes"].values():
        assert lane["test_score"] is None
        assert lane["test_loss"] > 0


def test_a_metric_wants_answers_and_a_test():
    with pytest.raises(ValueError, match="needs what the task 'text' lacks, prompts and answers"):
        ov.race(small(task="text", metric="exact"))
    train = tuple(ov.Example(f"{k} and one:", f" {k + 1}") for k in range(20))
    with pytest.raises(ValueError, match="needs what the task 'mine' lacks, test examples"):
        ov.race(small(metric="exact"), task=ov.Task("mine", "", train, train[:3]))


def test_the_command_prints_the_score_of_a_task_with_a_metric(capsys):
    words = "race --task tagging --lane lora:r=2 --steps 2 --eval-size 4 --test-size 4 --keep none"
    assert main(words.split()) == 0
    assert "test f1" in capsys.readouterr().out
    assert main([*words.split(), "--metric", "none"]) == 0
    assert "test f1" not in capsys.readouterr().out
