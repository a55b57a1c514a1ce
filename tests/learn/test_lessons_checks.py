"""The check questions of the lessons: each has an answer, and the answer is true."""

import re

import pytest
import torch
from torch import Tensor

from olora_viz.initializers import INITIALIZERS
from olora_viz.learn.gallery import load_recording
from olora_viz.learn.lessons import LESSON_NAMES, LESSONS, Lesson, qr, singular_values
from olora_viz.learn.terms import MARKED, slug
from olora_viz.web import learn as teachers
from olora_viz.web import learn as view
from olora_viz.web.guard.limits import from_environment
from olora_viz.web.race import arrival as share

EVERY = pytest.mark.parametrize("lesson", LESSONS.values(), ids=LESSON_NAMES)


def numbers(text: str) -> list[float]:
    return [float(found.replace("−", "-")) for found in re.findall(r"−?\d+(?:\.\d+)?", text)]


def basis(name: str, W: Tensor, r: int) -> Tensor:
    return INITIALIZERS[name].start(W, r, generator=torch.Generator().manual_seed(5)).B


@EVERY
def test_a_lesson_asks_and_one_of_three_answers_is_right_and_the_others_say_why_they_are_not(lesson: Lesson) -> None:
    assert "?" in lesson.ask
    assert lesson.answer.endswith(".")
    assert lesson.idea.endswith(".")
    before, *answers = view.check(lesson).split("<details")
    assert view.sentence(lesson.ask) in before
    assert len(answers) == len(lesson.choices) == len({choice.text for choice in lesson.choices}) == 3
    for choice, html in zip(lesson.choices, answers, strict=True):
        assert choice.text.endswith(".")
        head, _, folded = html.partition("</summary>")
        assert view.sentence(choice.text) in head
        assert " open" not in head.split(">")[0]
        assert (f'data-finishes="{lesson.name}"' in head) == (not choice.why)
        assert view.sentence(choice.why or lesson.answer) in folded
    assert sum(not choice.why for choice in lesson.choices) == 1


def test_the_right_answer_stands_everywhere_and_is_not_told_by_its_length() -> None:
    right = [[choice.why for choice in lesson.choices].index("") for lesson in LESSONS.values()]
    assert max(map(right.count, range(3))) <= len(right) // 2
    longest = [max(lesson.choices, key=lambda choice: len(choice.text)).why == "" for lesson in LESSONS.values()]
    assert sum(longest) <= len(longest) // 2


def test_what_the_qr_answer_calculates_by_hand() -> None:
    W = qr.BY_HAND
    q = W[:, 0] / W[:, 0].norm()
    R = q @ W
    (right,) = (choice.text for choice in LESSONS["qr"].choices if not choice.why)
    rest = W[:, 1] - R[1] * q
    answer = LESSONS["qr"].answer
    assert numbers(LESSONS["qr"].ask) == W.T.flatten().tolist()
    for vector in (q, R, rest):
        for text in (answer, right):
            assert [round(float(x), 6) for x in vector] in [numbers(said) for said in re.findall(r"\([^()]*\)", text)]
    assert abs(float(rest @ q)) < 1e-12


@pytest.mark.parametrize(
    ("name", "keeps"), [("olora", False), ("sketch", False), ("olora_pivoted", True), ("random_orthonormal", True)]
)
def test_a_permutation_of_the_columns_keeps_the_basis_of_pivoted_qr_and_of_none_of_w(name: str, keeps: bool) -> None:
    assert name in {lane.init for lane in load_recording("what-the-qr-adds").config.lanes}
    W = torch.randn(9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    order = torch.tensor([3, 5, 0, 6, 1, 2, 4])
    assert torch.allclose(basis(name, W, 3), basis(name, W[:, order], 3)) == keeps


def test_columns_at_right_angles_lose_what_comes_last() -> None:
    lengths = list(singular_values.LENGTHS)
    r = len(lengths) - 1
    Q, _ = torch.linalg.qr(torch.randn(5, len(lengths), dtype=torch.float64))
    W = Q * torch.tensor(lengths, dtype=torch.float64)
    start = INITIALIZERS["olora"].start(W, r)
    kept = torch.linalg.svdvals(start.B @ start.A)[:r]
    assert torch.allclose(kept, torch.tensor(sorted(lengths[:r])[::-1], dtype=torch.float64))
    lesson = LESSONS["singular-values"]
    assert numbers(lesson.ask) == [*lengths, r]
    assert numbers(lesson.answer)[:r] == [round(float(value)) for value in kept]
    (right,) = (choice.text for choice in lesson.choices if not choice.why)
    assert numbers(right) == numbers(lesson.answer)[:r]
    left = (set(lengths) - set(lengths[:r])).pop()
    assert f"{left} is left out" in lesson.answer
    assert left > min(lengths[:r]), "the lost one must be among the largest"


def test_adamw_does_not_see_a_factor_of_the_loss_but_its_curvature_does() -> None:
    first = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    curved = torch.tensor([1.0, 3.0, 0.2], dtype=torch.float64)
    ends, sharpest, gradients = [], [], []
    for factor in (1, 10):

        def loss(theta: Tensor, factor: int = factor) -> Tensor:
            return factor * (curved * theta**4).sum()

        theta = first.clone().requires_grad_()
        adamw = torch.optim.AdamW([theta], lr=0.1, eps=0)
        for _ in range(20):
            adamw.zero_grad()
            loss(theta).backward()
            adamw.step()
        ends.append(theta.detach())
        hessian = torch.autograd.functional.hessian(loss, first)
        sharpest.append(torch.linalg.eigvalsh(hessian).max())
        gradients.append(torch.autograd.functional.jacobian(loss, first))
    assert torch.allclose(ends[0], ends[1])
    assert torch.allclose(10 * sharpest[0], sharpest[1])
    assert torch.allclose(10 * gradients[0], gradients[1])


def test_only_plain_lora_of_the_last_lesson_subtracts_nothing() -> None:
    race = load_recording(LESSONS["export"].recording)
    W = torch.randn(9, 7, generator=torch.Generator().manual_seed(1))
    (r,) = {lane.r for lane in race.config.lanes}
    for init in {lane.init for lane in race.config.lanes}:
        start = INITIALIZERS[init].start(W, 3)
        assert bool((start.B @ start.A).any()) == (init != "lora")
    assert numbers(LESSONS["export"].ask) == [r, 2 * r]


def test_the_highest_rate_of_the_fair_race_is_the_one_that_is_asked_about() -> None:
    race = load_recording(LESSONS["fair-rates"].recording)
    (high,) = re.findall(r"\d\S*e-\d", LESSONS["fair-rates"].ask)
    assert float(high) == max(lane.lr for lane in race.config.lanes)


@EVERY
def test_a_link_for_a_class_opens_its_lesson_and_hides_parts_that_there_are(lesson: Lesson) -> None:
    link = teachers.class_link(lesson)
    asked = share.read(from_environment(), link)
    assert (asked.lesson, asked.notes, asked.start) == (lesson.name, (), False)
    (hidden,) = re.findall("hide=(.*)", link)
    assert set(hidden.split(",")) <= set(share.HIDEABLE)
    assert f'data-link="{link.replace("&", "&amp;")}"' in teachers.plan()


def test_the_teacher_s_plan_has_all_of_every_lesson() -> None:
    html = teachers.plan()
    assert html.count("<li>") == len(LESSONS)
    assert "data-finishes" not in html, "a teacher who looks up an answer finishes nothing"
    for lesson in LESSONS.values():
        for text in (lesson.idea, lesson.ask, lesson.answer):
            assert view.sentence(text) in html
        assert f"{lesson.minutes} min" in html
    assert set(teachers.NEEDED) <= set(LESSON_NAMES)
    for names in teachers.NEEDED.values():
        assert set(names) <= set(teachers.HIDDEN)


def test_every_term_in_a_text_has_its_entry_and_a_formula_stays_whole():
    entries = view.glossary()
    assert all(f'id="term-{slug(word)}"' in entries for word in MARKED)
    for lesson in LESSONS.values():
        text = view.lesson_text(lesson)
        terms = re.findall(r'data-term="([\w-]+)"', text)
        assert len(terms) == len(set(terms))
        assert all(f'id="term-{one}"' in entries for one in terms)
        assert not re.search(r"<math(?:(?!</math>).)*<button", text, re.DOTALL)
