"""Lesson: learning from rewards."""

from __future__ import annotations

from collections.abc import Sequence

from olora_viz.initializers import label_of
from olora_viz.learn.lessons.lesson import Awaited, Choice, Lesson, RaceNumbers
from olora_viz.machine.wording import and_, compact, counted, nats, percent
from olora_viz.studies.rewards import LATE, late, stuck


def lesson(race: RaceNumbers) -> Lesson:
    """Write the lesson from its recorded race."""
    config, steps = race.recording.config, race.recording.steps

    def mean(key: str, lanes: Sequence[int]) -> float:
        return float(late(steps, key)[list(lanes)].mean())

    inits = list(dict.fromkeys(lane.init for lane in config.lanes))
    low, middle, high = race.rates("lora")
    rewards = {(init, lr): nats(mean("reward", race.lanes(init, lr))) for init in inits for lr in race.rates(init)}
    all_stuck = stuck(steps)
    fallen = {init: [k for k in race.lanes(init, high) if k in all_stuck] for init in inits}
    every = [k for lanes in fallen.values() for k in lanes]
    others = [k for init in inits for k in race.lanes(init, high) if k not in every]
    before = [k for init in inits for lr in (low, middle) for k in race.lanes(init, lr)]
    shares = [f"{len(those)} of {len(race.lanes(init, high))} of {label_of(init)}" for init, those in fallen.items()]
    same = {config.lanes[k].seed for k in fallen["olora"]} == {config.lanes[k].seed for k in fallen["pissa"]}

    def at(lr: float) -> str:
        return and_([f"{rewards[init, lr]} with {label_of(init)}" for init in inits])

    return Lesson(
        name="rewards",
        title="Learning from rewards",
        minutes=5,
        idea="Rewards teach only while a prompt's answers differ in reward. A rate that is too high for a start can "
        "end that too early.",
        paragraphs=(
            "Here no right answer is shown. A lane draws answers $y$ of its own to each prompt $x$, and each earns a "
            r"reward $R$. Training makes an answer likelier by its advantage, $R - \bar{R}$, the reward minus the "
            "mean reward of the same prompt's answers. The base is right in about half of its tries, so that most "
            "prompts have better answers and worse ones.",
            f"At {compact(low)} the mean reward of the last {LATE} steps is {at(low)}. "
            f"{race.verdict('On the right answers', 'olora', 'lora', low)} It is the lesson on one rate again: larger "
            "factors move $W$ further for the same change of $A$ and $B$. With LoRA the next rate, "
            f"{compact(middle)}, does the same: its mean reward there is {rewards['lora', middle]}.",
            f"At {compact(high)} it is {at(high)}. Most lanes there are right in {race.right(others)} of the "
            "held-out prompts, but some are stuck: they give nearly the same answer to every prompt, and are right in "
            f"{race.right(every)}. These are {and_(shares)}. At the lower rates "
            f"{len({*before} & {*all_stuck}) or 'none'} of {counted(len(before), 'lane')} is stuck. So few seeds "
            "show that it happens, not how often.",
            f"The entropy of their predictions is {nats(mean('entropy', every))} nats at the end. It was "
            f"{nats(float(steps[0].measures['entropy'][every].mean()))} in the first step. A few long steps, on the "
            "luck of a few answers, "
            "have made one answer nearly certain. Then a prompt's answers are all right or all wrong, all "
            f"advantages are zero, and so is the gradient. Only {percent(mean('differing', every))} of the "
            "prompts still teach them anything. Zero entropy alone is no harm: the other lanes at this rate have "
            f"{nats(mean('entropy', others))} nats, and are right.",
            "Does OLoRA get stuck more easily than LoRA? "
            f"{race.verdict('At the highest rate', 'olora', 'lora', high)} "
            + ("OLoRA and PiSSA are stuck from the same seeds, which see the same prompts. " if same else "")
            + "A lower rate keeps out of the trap here. A penalty on the distance from the start, the key kl of a "
            "lane, pulls back even where all answers agree. Whether it is strong enough is for a race to show.",
        ),
        formulas=(
            r"\nabla_\theta J = \mathbb{E}_{x,\, y}\left[ (R - \bar{R})\, \nabla_\theta \log\, p_\theta(y \mid x) "
            r"\right]",
        ),
        do="Under More, compare Reward, Prompts that teach and Entropy, and drag the step below the first chart back "
        "to the first half.",
        see="At the highest rate the prompts that teach run out first. Look at the bands of Reward at this rate: "
        "where are the lowest seeds when that happens, and do they rise later?",
        ask="No prompt of a lane teaches any more, and its entropy is near zero. How do you see whether it has "
        "learned the task or is stuck?",
        choices=(
            Choice("By its reward: near the best there is it has learned, below that it is stuck."),
            Choice(
                "By its gradient: only that of a lane that is stuck is zero.",
                "It is zero in both cases: wherever all answers to a prompt earn the same, right or wrong.",
            ),
            Choice(
                "By more steps: a lane that is stuck finds its way out sooner or later, as the rest did.",
                "A step without a gradient changes nothing. It gets out only if it draws another answer by chance, "
                "and near zero entropy it hardly does.",
            ),
        ),
        answer="By its reward, or its accuracy. Advantages compare answers to one prompt with each other, so they "
        "vanish both where all are right and where all are wrong. Entropy and gradient look alike in both cases. Only "
        "the reward itself tells them apart.",
        recording=race.recording.name,
        picture="reward",
        where="measurement-figures",
        waits=Awaited("step", "a step of the first half", low=0.01, high=0.5),
        outcome=(1, 2, 3, 4),
    )
