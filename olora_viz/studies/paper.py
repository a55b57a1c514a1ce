"""A study in a paper: its table in LaTeX and Markdown, and its methods with their sources."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from olora_viz.initializers import BUILT_IN, INITIALIZERS
from olora_viz.machine.checks import expect, unknown
from olora_viz.machine.tables import table
from olora_viz.machine.version import __version__
from olora_viz.machine.wording import and_, compact, counted, number, percent
from olora_viz.studies.axes import plain
from olora_viz.studies.method import kept_words, lane_of, method_name, noun
from olora_viz.studies.preregistration import hash_of, sentence
from olora_viz.studies.rows import NATS, OF_PAIRS, OF_REWARD, unit_of
from olora_viz.studies.statistics import ERROR, LEAST_EXAMPLES, LEAST_SEEDS

if TYPE_CHECKING:
    from olora_viz.studies.study import Study
    from olora_viz.studies.verdicts import Verdict, Verdicts

STARS = (0.001, 0.01, ERROR)
"""The p-values below which a difference has three stars, two and one."""

TABLE_HEAD = ("start", "rate", "test loss", "accuracy", "difference", "95% interval", "p", "verdict")

WORD_COLUMNS = ("start", "rate", "verdict")
"""The columns of words."""

TITLES = {
    "0909.4061": "Finding structure with randomness: Probabilistic algorithms for constructing approximate matrix "
    "decompositions",
    "1810.04805": "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
    "2106.09685": "LoRA: Low-Rank Adaptation of Large Language Models",
    "2310.08659": "LoftQ: LoRA-Fine-Tuning-Aware Quantization for Large Language Models",
    "2404.02948": "PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models",
    "2406.01775": "OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models",
    "2406.05223": "CorDA: Context-Oriented Decomposition Adaptation of Large Language Models for Task-Aware "
    "Parameter-Efficient Fine-tuning",
    "2406.09044": "MiLoRA: Harnessing Minor Singular Components for Parameter-Efficient LLM Finetuning",
    "2407.05000": "LoRA-GA: Low-Rank Adaptation with Gradient Approximation",
    "2410.07170": "One Initialization to Rule them All: Fine-tuning via Explained Variance Adaptation",
    "2502.01235": "LoRA-One: One-Step Full Gradient Could Suffice for Fine-Tuning Large Language Models, Provably and "
    "Efficiently",
    "2503.02659": "LoRA-Null: Low-Rank Adaptation via Null Space for Large Language Models",
    "2505.23194": "Beyond Zero Initialization: Investigating the Impact of Non-Zero Initialization on LoRA "
    "Fine-Tuning Dynamics",
    "2510.24561": "LoRA-DA: Data-Aware Initialization for Low-Rank Adaptation via Asymptotic Analysis",
    "2604.01694": "MiCA Learns More Knowledge Than LoRA and Full Fine-Tuning",
    "2606.31813": "Geometry-Preserving Orthonormal Initialization for Low-Rank Adaptation in RLVR",
    "math-ph/0609050": "How to generate random matrices from the classical compact groups",
    "Numerische Mathematik 7": "Linear least squares solutions by Householder transformations",
}
"""Of the papers of the starts, by the number of arXiv, or the journal, in the `source` of an `Initializer`."""

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "–": "--"}
_SPECIAL |= {character: f"${character}$" for character in "<>|"}  # others in the text mode of some fonts
_SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}
_SPECIAL |= {"α": r"$\alpha$", "β": r"$\beta$", "λ": r"$\lambda$", "₁": "$_1$", "₂": "$_2$", "×": r"$\times$"}


def escaped(text: str) -> str:
    r"""Return text as LaTeX shows it.

    >>> escaped("a_b: 50% − ~{x}, p < 1")
    'a\\_b: 50\\% $-$ \\textasciitilde{}\\{x\\}, p $<$ 1'
    >>> escaped("LoRA α/r 2, β₁ 0.8")
    'LoRA $\\alpha$/r 2, $\\beta$$_1$ 0.8'
    """
    return "".join(_SPECIAL.get(character, character) for character in text)


def stars(p_value: float) -> str:
    """Return the stars of an adjusted p-value.

    >>> stars(0.03), stars(0.0004), stars(0.2)
    ('*', '***', '')
    """
    return "*" * sum(p_value < limit for limit in STARS)


def to_latex(verdicts: Verdicts, caption: str, label: str, columns: Sequence[str] | None) -> str:
    """Return the table of a study, for the package booktabs."""
    every = _head(verdicts)
    head = _chosen(columns, every)
    at = [every.index(name) for name in head]
    rows = []
    for words, cells in _cells(verdicts):
        shown = (_line([row[i] for i in at]) for row in cells)
        rows += [rf"\multicolumn{{{len(head)}}}{{l}}{{\emph{{{escaped(words)}}}}} \\", *shown, r"\midrule"]
    parts = [
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escaped(caption or _caption(verdicts))}}}",
        *([rf"\label{{{label}}}"] if label else []),
        rf"\begin{{tabular}}{{{''.join('l' if name in WORD_COLUMNS else 'r' for name in head)}}}",
        r"\toprule",
        _line(["$p$" if name == "p" else escaped(_titled(verdicts, name)) for name in head], escape=False),
        r"\midrule",
        *rows[:-1],
        r"\bottomrule",
        r"\end{tabular}",
        "",
        rf"\smallskip {escaped(_notes(verdicts))}",
        r"\end{table}",
    ]
    return "\n".join(parts) + "\n"


def _chosen(columns: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Return the names of columns, all by default; ValueError if one is not known."""
    if columns is None:
        return list(known)
    expect(columns, (list, tuple), "a list of columns, such as ['start', 'difference']")
    for name in columns:
        if name not in known:
            raise ValueError(unknown("column", str(name), known))
    if not columns:
        raise ValueError(f"a table has at least one column of {', '.join(known)}")
    return list(columns)


def to_markdown(verdicts: Verdicts) -> str:
    """Return the table of a study in Markdown."""
    head, lines = _head(verdicts), []
    for words, cells in _cells(verdicts):
        lines += [f"**{words}**", "", _in_markdown(head), "|---" * len(head) + "|", *map(_in_markdown, cells), ""]
    return "\n".join([*lines, _notes(verdicts).replace("*", r"\*")]) + "\n"


def _in_markdown(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|").replace("*", r"\*") for cell in cells) + " |"


def verdicts_html(verdicts: Verdicts, preregistered: str) -> str:
    """Return the table of a study as HTML, and whether it keeps to what was decided before, in a sentence."""
    tables = (table(_head(verdicts), cells, words) for words, cells in _cells(verdicts))
    return Markup("").join([*tables, Markup("<p>{} {}</p>").format(_notes(verdicts), preregistered)])


def _line(cells: Sequence[str], *, escape: bool = True) -> str:
    return " & ".join(map(escaped, cells) if escape else cells) + r" \\"


def _cells(verdicts: Verdicts) -> list[tuple[str, list[list[str]]]]:
    """Return the rows of every model, task and rank, with the words for it."""
    return [
        (cell.words(), [_row(verdicts, each) for each in of_cell])
        for cell, of_cell in groupby(verdicts.each, key=lambda each: each.cell)
    ]


def _head(verdicts: Verdicts) -> list[str]:
    """Return the names of the columns: those of all studies, and the registered measurements."""
    return [*TABLE_HEAD, *verdicts.own_measures.values()]


def _row(verdicts: Verdicts, each: Verdict) -> list[str]:
    is_reference = each.method == verdicts.study.reference
    mean, low, high, _ = each.interval
    shown = not is_reference and math.isfinite(mean)
    return [
        method_name(each.method),
        each.best.words if each.best else "–",
        number(each.test_loss, ".3f"),
        percent(each.test_accuracy, 1),
        "reference" if is_reference else _signed(mean) + stars(each.p_value) if shown else "–",
        f"[{_signed(low)}, {_signed(high)}]" if shown else "",
        ("< 0.001" if each.p_value < STARS[0] else number(each.p_value, ".3f")) if shown else "",
        "" if is_reference else each.verdict,
        *(number(each.measures.get(key)) for key in verdicts.own_measures),
    ]


def _signed(value: float) -> str:
    return number(value, "+.3f").replace("-", "−")


def _titled(verdicts: Verdicts, name: str) -> str:
    """Return the title of a column."""
    title = noun(verdicts.study.compare) if name == "start" else name
    return title[0].upper() + title[1:]


def _caption(verdicts: Verdicts) -> str:
    study = verdicts.study
    return f"Test loss of {counted(len(study.compare), noun(study.compare))}, each at its best learning rate."


LOSSES = {
    NATS: "Losses in nats per token",
    OF_REWARD: "Losses are 1 minus the probability of the right answer",
    OF_PAIRS: "Losses are the share of pairs whose rejected answer is the likelier",
}


def _notes(verdicts: Verdicts) -> str:
    study = verdicts.study
    seeds = sorted({each.seeds for each in verdicts.each if each.seeds})
    over = f"{seeds[0]} seeds" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds" if seeds else "no seeds"
    return (
        f"{LOSSES[unit_of(study)]}, means over {over}. Differences are those to {method_name(study.reference)}, "
        f"negative is better, paired by seed and test example, with 95% intervals. p-values are adjusted by Holm's "
        f"method: * p < {STARS[2]}, ** p < {STARS[1]}, *** p < {STARS[0]}. Level: the whole interval lies within "
        f"{100 * study.margin:g}% of the reference's loss reduction."
    )


def methods(verdicts: Verdicts) -> str:
    """Return a paragraph of methods of what ran, or of the plan before the first run, and BibTeX of the papers."""
    s, race = verdicts.study, verdicts.study.race
    lane = s.lane_in(s.cells()[0], s.reference)
    coarse = "" if s.coarse is None else f" (a first pass over all rates used {counted(s.coarse, 'seed')})"
    of_length = "" if race.max_length is None else f", of at most {race.max_length} tokens"
    of_length += ", too long ones cut at the left" * race.truncate + ", in the model's chat template" * race.chat
    warmup = f" after {counted(race.warmup, 'warm-up step')}" if race.warmup else ""
    test = "" if race.test is None else f" (from {Path(race.test).name})"
    dense = [_name(method) for method in s.compare if lane_of(method).is_dense]
    but = f"but for {and_(dense)} " * bool(dense)
    precision = "bfloat16 on a GPU, float32 on a CPU" if race.dtype == "auto" else race.dtype
    keeps = f"by more than {race.forget:g} nats" if race.forget is not None else ""
    forget = f" A rate was chosen only if no seed raised the loss on the text to keep {keeps}." if keeps else ""
    kept = "".join(f" {_name(method)} kept {words}." for method in s.compare if (words := kept_words(method)))
    starts = list(dict.fromkeys(lane_of(method).init for method in s.compare))
    own = "".join(
        f" {_name(init)} is our own: {INITIALIZERS[init].summary if init in INITIALIZERS else 'its code is not here.'}"
        for init in starts
        if init not in BUILT_IN
    )
    each = noun(s.compare)
    text = (
        f"We compared {_compared(s)} on {_of('model', s.values('model'))} and "
        f"{_of('task', s.values('task'))}.{own} Examples were divided into training, held-out and test examples "
        f"(split seed {race.split_seed}), and training examples that repeat one of the others were removed. Each run "
        f"made {counted(race.steps, 'step')} of {counted(race.batch_size, 'prompt')}{of_length} by AdamW (betas "
        f"{lane.beta1:g} and {lane.beta2:g}, weight decay {lane.weight_decay:g}, no clipping) with a "
        f"{race.schedule} learning rate{warmup}; {but}the base model was frozen, in {precision}. All {each}s had the "
        f"same rates, at first "
        f"{', '.join(map(compact, s.lrs))}, and {_seeds(verdicts)}{coarse}; the runs of one seed shared their "
        f"batches, whose order varied by seed (from {race.seed}). Where a best rate lay at the edge, the rates were "
        f"extended for all {each}s, and each {each} got two more rates, half a step around its best.{kept}"
        f"{_ran(verdicts)} "
        f"The rate of each {each} was chosen by its mean loss on "
        f"{_examples([each.valid_examples for each in verdicts.each], race.eval_size, 'held-out example')}, and the "
        f"{each}s were compared on "
        f"{_examples([each.test_examples for each in verdicts.each], race.test_size, 'other test example')}{test}."
        f"{forget} Losses are means over the tokens of the answers, without their end tokens. Differences in test "
        f"loss were paired by "
        f"seed and example, with 95% intervals over both, and p-values were adjusted by Holm's method; a {each} is "
        f"called better or worse if p < {ERROR} and the order holds at all rates that the held-out examples cannot "
        f"tell from the best ones, and level if the whole interval lies within {100 * s.margin:g}% of the reference's "
        f"loss reduction. No verdict rests on fewer than {LEAST_SEEDS} seeds or {LEAST_EXAMPLES} test examples. We "
        f"used olora_viz {__version__}, PyTorch {version('torch')} and transformers {version('transformers')}."
    )
    planned = sentence(verdicts.deviations, hash_of(verdicts.folder) if verdicts.folder else "")
    return f"{' '.join(filter(None, [text, planned]))}\n\n{bibtex(starts)}"


def _seeds(verdicts: Verdicts) -> str:
    """Return how many seeds the runs had, some methods perhaps more than others."""
    ran = {each.seeds for each in verdicts.each if each.seeds} or {verdicts.study.seeds}
    return counted(max(ran), "seed") if len(ran) == 1 else f"{min(ran)} to {max(ran)} seeds"


def _examples(counts: Sequence[int], most: int, noun: str) -> str:
    """Return on how many examples something rests, in words; before the first run at most so many."""
    ran = sorted({count for count in counts if count})
    if not ran:
        return f"up to {counted(most, noun)}"
    return counted(ran[0], noun) if len(ran) == 1 else f"{ran[0]} to {counted(ran[-1], noun)}"


def _ran(verdicts: Verdicts) -> str:
    """Return which rates ran, which were best, and how many runs diverged; empty before the first run."""
    if not verdicts.rows:
        return ""
    rates = sorted({trial.lr for trial in verdicts.rows})
    best = {
        method: sorted({each.best_lr for each in verdicts.each if each.method == method and each.best_lr})
        for method in verdicts.study.compare
    }
    at = [f"{_range(rates)} for {_name(method)}" for method, rates in best.items() if rates]
    chosen = f"; the best were {and_(at)}" if at else ""
    diverged = sum(row["status"] == "diverged" for row in verdicts.rows.values())
    runs = counted(len(verdicts.rows), "run")
    return (
        f" In all, {counted(len(rates), 'rate')} ran, {_range(rates)}{chosen}. "
        f"{diverged or 'None'} of {runs} diverged."
    )


def _range(rates: Sequence[float]) -> str:
    """Return the first and the last rate in words, or the only one."""
    return " to ".join(dict.fromkeys(map(compact, (rates[0], rates[-1]))))


def _compared(study: Study) -> str:
    """Return what is compared with the reference; full fine-tuning is no start of an adapter."""
    if noun(study.compare) == "method":
        lanes = [study.lane_in(cell, study.reference) for cell in study.cells()]
        ranks, scales = (list(dict.fromkeys(each)) for each in ([x.r for x in lanes], [x.scale for x in lanes]))
        names = and_([_name(method) for method in study.compare[1:]])
        is_on_all = study.race.targets is None and "targets" not in study.across
        targets = "all linear layers of the blocks" if is_on_all else "their target modules"
        return (
            f"{names} with {_name(study.reference)}: low-rank adapters of {_of('rank', ranks)} on {targets}, "
            f"scaled by {and_([f'{x:g}' for x in scales])}, but where a method's name says otherwise,"
        )
    alphas = [alpha for alpha in study.values("alpha") if alpha is not None]
    scaling = f"alpha {and_([plain(alpha) for alpha in alphas])}" if alphas else "alpha equal to the rank"
    targets = "all linear layers of the blocks" if study.values("targets") == (None,) else "their target modules"
    adapters = f"low-rank adapters of {_of('rank', study.values('r'))} on {targets} ({scaling})"
    others, reference = study.compare[1:], method_name(study.reference)
    starts = and_([_name(method) for method in others if not lane_of(method).is_dense])
    dense = and_([_name(method) for method in others if lane_of(method).is_dense])
    if lane_of(study.reference).is_dense:
        return f"{starts} as the start of {adapters} with {reference} of these layers"
    if not starts:
        return f"{dense} with {adapters}, started by {reference},"
    beside = f", and {dense} of these layers with {reference}," if dense else ","
    return f"{starts} with {reference} as the start of {adapters}{beside}"


def _of(what: str, values: Sequence[object]) -> str:
    return f"{what}{'s' * (len(values) > 1)} {and_([Path(str(value)).name for value in values])}"


def bibtex(inits: Sequence[str]) -> str:
    """Return an entry for the source of every start; those of one paper share it.

    >>> print(bibtex(["pissa"]))
    @misc{meng2024,
      author = {Meng and Wang and Zhang},
      title = {{PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models}},
      year = {2024},
      eprint = {2404.02948},
      archiveprefix = {arXiv},
      url = {https://arxiv.org/abs/2404.02948},
      note = {The start PiSSA},
    }
    <BLANKLINE>
    """
    entries: dict[tuple[tuple[str, str], ...], tuple[str, list[str]]] = {}
    for init in inits:
        author, fields = _source(INITIALIZERS[init].source if init in INITIALIZERS else "our own")
        if fields not in entries:
            key = author or init
            entries[fields] = (key + init if key in {taken for taken, _ in entries.values()} else key), []
        entries[fields][1].append(_name(init))
    written = []
    for fields, (key, names) in entries.items():
        note = ("note", f"The start{'s' * (len(names) > 1)} {and_(names)}")
        lines = "".join(f"  {name} = {{{value}}},\n" for name, value in (*fields, note))
        written.append(f"@misc{{{key},\n{lines}}}\n")
    return "\n".join(written)


_PAPER = re.compile(r"(?:a variant of )?([^\d,]+(?:, [^\d,]+)*) (\d{4}), (?:arXiv ([\w.-]+(?:/\d+)?)|(.+))")


def _source(source: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the key of a paper, empty if a source names no author and year, and its fields in BibTeX."""
    paper = _PAPER.match(source)
    if not paper:
        return "", (("howpublished", escaped(source)),)
    authors, year, eprint, elsewhere = paper.groups()
    people = re.split(", | and ", authors.replace(" et al.", ", others"))
    title = next((title for where, title in TITLES.items() if (eprint or elsewhere).startswith(where)), "")
    fields = (("author", " and ".join(people)), *([("title", f"{{{title}}}")] if title else []), ("year", year))
    if eprint:
        fields += ("eprint", eprint), ("archiveprefix", "arXiv"), ("url", f"https://arxiv.org/abs/{eprint}")
    else:
        fields += (("howpublished", escaped(elsewhere)),)
    return re.sub(r"\W", "", _plain(people[0])).lower() + year, fields


def _name(init: str) -> str:
    """Return a start's label as it reads in a list.

    >>> _name("olora_pivoted")
    'OLoRA (pivoted)'
    """
    first, comma, rest = method_name(init).partition(", ")
    return f"{first} ({rest})" if comma else first


def _plain(name: str) -> str:
    """Return a name without accents."""
    return "".join(c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c))
