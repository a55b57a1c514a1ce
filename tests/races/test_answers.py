"""Answers of a race: whole words from every lane and the base, and those of `generate`."""

import re
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from support.races import FOUR, raced, small
from support.tiny import CONTEXT, tiny, tokens

from olora_viz.lanes import generation
from olora_viz.lanes.generation import answer_text, covering, greedy
from olora_viz.machine.memory import LIMIT
from olora_viz.races.race import race
from olora_viz.tasks.encoding import Encoded

config = partial(small, lanes=FOUR, steps=8, eval_every=4, eval_size=16)


@pytest.mark.parametrize("task", ["text", "addition"])
def test_answers_come_from_the_base_and_from_every_lane(task):
    running = race(config(task=task, steps=2))
    list(running)
    answers = running.answers(3)
    assert len(answers) == 3
    assert all(len(answer.lanes) == 4 and answer.expected for answer in answers)
    with pytest.raises(ValueError, match=r"for your own, call answer\('3 plus 4 is'\)"):
        running.answers("3 plus 4 is")


def test_answers_are_whole_words_and_right_where_accuracy_says_so():
    running = race(config(task="number-words", lanes=FOUR[:2], steps=30))
    *_, last = running
    asked = running.answers(16)
    prompts = [e.ids[: e.supervised_from] for e in covering(running.data.held_out, 16)]
    for k, lane in enumerate(greedy(running.model, prompts, 20, 2, 0)):
        for answer, ids in zip(asked, lane, strict=True):
            text, all_that_follows = answer.lanes[k], running.tokenizer.decode(ids).strip()
            assert all_that_follows.startswith(text.rstrip("…"))
            behind = all_that_follows[len(text.rstrip("…")) :]
            if text != answer.expected:
                assert text.endswith("…") or not behind[:1].isalnum()
    right = np.mean([[text == a.expected for text in a.lanes] for a in asked], axis=0)
    np.testing.assert_array_equal(right, last.eval_accuracy)


@pytest.mark.parametrize(
    ("says", "right", "shown"),
    [
        (" fifty-nine, and so", " six", "fifty-nine"),
        (" sixty-two", " six", "six"),  # it was not taught to stop
        (" seveny and on", " eight", "seveny"),
        (" forty, and", " six", "forty"),
        (" it’s so", " of", "it’s"),
        (" the cat and", " three", "the cat"),
        (" SOULLLLLLLLLLLLLLLLL", " SONG", "SOULLLLLLLLL…"),
        (" 788888", " 6", "7…"),
        (" 78.", " 65", "78"),
        (" no.\n\nThe next", " yes, it is", "no."),
        ("\nThe next", " yes", "The"),
        (" no|and so on", " yes, it is", "no"),
        (" hedge|hog", " fox", "hedge"),
        (" -- no", " a dog", "-- no"),
    ],
)
def test_an_answer_ends_with_its_word_its_line_or_its_text(says, right, shown):
    def letters(ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    ids = [ord(letter) for letter in says]
    assert answer_text(ids, [ord(letter) for letter in right], letters, ends=[ord("|")]) == shown


def test_a_prompt_of_one_s_own_is_answered_by_all_and_the_race_does_not_notice():
    plain, asked = (race(config(task="number-words", steps=4)) for _ in range(2))
    example = asked.data.held_out[0]
    prompt = asked.tokenizer.decode(example.ids[: example.supervised_from])
    for alone, step in zip(plain, asked, strict=True):
        (answer,) = asked.answer(prompt + "  ")
        np.testing.assert_array_equal(alone.loss, step.loss)
        assert (answer.prompt, answer.expected, answer.step) == (prompt, "", step.step)
    ids = asked.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    follows = [asked.tokenizer.decode(one[0]).strip() for one in greedy(asked.model, [ids], 40, 4, 0)]
    for shown, text in zip(answer.lanes, follows, strict=True):
        assert shown
        assert text.startswith(shown.rstrip("…"))
    assert "\n" not in "".join(answer.lanes)
    (held_out,) = asked.answers(1)
    for k, right in enumerate(held_out.lanes):  # more tokens of the same continuation
        assert answer.lanes[k].startswith(right.rstrip("…")) or right.startswith(answer.lanes[k])


def test_a_prompt_shows_the_characters_that_the_model_does_not_know():
    asked = race(config(task="addition", steps=1))  # glassllm knows neither + nor =
    (held_out,) = asked.answers(1)
    assert re.fullmatch(r"\d+ <unk> \d <unk>", held_out.prompt)
    (own,) = asked.answer("9 + 5 = ")
    assert own.prompt == "9 <unk> 5 <unk>"


@pytest.mark.parametrize(
    ("prompt", "rule"), [("", "is empty"), ("   ", "is empty"), ("one " * 200, "the model's context, 128")]
)
def test_a_prompt_that_cannot_be_answered_is_refused_with_the_rule(prompt, rule):
    with pytest.raises(ValueError, match=rule):
        race(config(steps=1)).answer(prompt)


def test_prompts_that_do_not_fit_into_memory_together_are_asked_in_groups(monkeypatch):
    race, _ = raced(small(task="text", eval_size=6))
    asked, whole, greedy = [], race.answers(6), generation.greedy

    def counted(model, prompts, *rest):
        asked.append(len(prompts))
        return greedy(model, prompts, *rest)

    monkeypatch.setattr(generation, "greedy", counted)
    assert race.answers(6) == whole
    assert set(asked) == {6}
    monkeypatch.setenv(LIMIT, "4")
    assert race.answers(6) == whole
    assert set(asked[2:]) == {3}, asked


def test_greedy_answers_are_those_of_generate():
    running = race(config(lanes=FOUR[:2], steps=4))
    list(running)
    prompts = [e.ids[: e.supervised_from] for e in running.data.held_out[:5]]
    for k in range(2):
        ours = greedy(running.model, prompts, 4, 2, 0)[k]
        with running.lanes.only(k):
            for prompt, tokens in zip(prompts, ours, strict=True):
                theirs = running.model.generate(
                    torch.tensor([prompt]), max_new_tokens=4, do_sample=False, eos_token_id=None
                )
                assert theirs[0, len(prompt) :].tolist() == tokens


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_an_answer_ends_where_the_context_does_and_other_prompts_go_on(family):
    model = tiny(family)
    short, long = tokens(1, 2)[0].tolist(), tokens(1, 25)[0].tolist()
    ((short_said, long_said),) = greedy(model, [short, long], 20, 1, 0)
    assert (len(short_said), len(long_said)) == (20, CONTEXT + 1 - 25)
    for prompt, added in ((short, short_said), (long, long_said)):
        assert greedy(model, [prompt], 20, 1, 0) == [[added]]
        for n, token in enumerate(added):
            ids = torch.tensor([prompt + added[:n]])
            assert int(model(input_ids=ids).logits[0, -1].argmax()) == token


def test_the_prompts_cover_as_many_right_answers_as_they_can_and_the_first_stays_first():
    examples = [Encoded((1, prompt, answer), 2) for prompt, answer in enumerate([7, 7, 8, 7, 9, 8])]
    for count in range(8):
        chosen = covering(examples, count)
        assert chosen[:1] == examples[: min(count, 1)]
        assert len(set(chosen)) == len(chosen) == min(count, len(examples))
        assert len({each.ids[-1] for each in chosen}) == min(count, 3)
