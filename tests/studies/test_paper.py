"""A study in a paper: its table says what its verdicts do, its methods what it did, and its plan was there before."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from support.simulated_studies import World
from support.study_folders import written

import olora_viz as ov
from olora_viz.initializers import label_of
from olora_viz.initializers.catalogue import BUILT_IN as BUILT_IN_STARTS
from olora_viz.machine.wording import compact
from olora_viz.measures.catalogue import BUILT_IN_MEASURES, NAMES_TAKEN
from olora_viz.studies.folder import COLUMNS, Ledger
from olora_viz.studies.paper import TITLES, bibtex
from olora_viz.studies.preregistration import FILE, hash_of
from olora_viz.studies.verdicts import verdicts_of
from olora_viz.views.decision import verdict_rows

STUDY = ov.Study(tune={"lr": (1e-3, 2e-3, 4e-3)}, compare=("lora", "olora", "pissa"), seeds=4)


@pytest.fixture(scope="module")
def decided() -> ov.Verdicts:
    return World(np.random.default_rng(5), 3, 60, 60, gap=0.4).study(STUDY)


def methods_of(study: ov.Study) -> str:
    """Return the methods of a study of which nothing has run."""
    return verdicts_of(study, {}).methods()


def cells_of(row: str) -> list[str]:
    return [cell.strip() for cell in row.removesuffix(r"\\").split(" & ")]


def test_the_latex_table_is_whole_and_has_the_numbers_of_the_verdicts(decided) -> None:
    latex = decided.to_latex(caption="50% of_it", label="tab:one")
    assert latex.count("{") == latex.count("}")
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", latex) for word in ("begin", "end"))
    assert begun == ended[::-1] == ["table", "tabular"]
    assert r"\caption{50\% of\_it}" in latex
    assert r"\label{tab:one}" in latex
    for rule in ("toprule", "bottomrule"):
        assert latex.count(rf"\{rule}") == 1
    (columns,) = re.findall(r"\\begin{tabular}{(\w+)}", latex)
    body = [line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(cells_of(line)) for line in body} == {len(columns)}
    assert not re.search(r"(?<!\\)[%#_&](?! )", latex.split(r"\toprule")[1].replace(" & ", ""))
    for each, line in zip(decided.each, body[1:], strict=True):
        name, _, loss, _, difference, interval, _, verdict = cells_of(line)
        assert name == ov.INITIALIZERS[each.method].label
        assert float(loss) == pytest.approx(each.test_loss, abs=5e-4)
        if each.method == "lora":
            assert (difference, interval, verdict) == ("reference", "", "")
            continue
        number, marks = re.fullmatch(r"(\S+?)(\**)", difference.replace("$-$", "-")).groups()
        assert float(number) == pytest.approx(each.interval.mean, abs=5e-4)
        assert len(marks) == (each.p_value < 0.05) + (each.p_value < 0.01) + (each.p_value < 0.001)
        ends = [float(end) for end in interval.replace("$-$", "-").strip("[]").split(",")]
        np.testing.assert_allclose(ends, each.interval[1:3], atol=5e-4)
        assert verdict == each.verdict
    assert "* p $<$ 0.05, ** p $<$ 0.01, *** p $<$ 0.001" in latex
    assert not re.search(r"(?<!\$)[<>|]", latex), "prints other signs in LaTeX's text mode"
    assert "Holm" in latex


def test_the_reference_has_no_verdict_in_any_table(decided) -> None:
    frame = decided.table().set_index("init")[["verdict", "verdict_shared_rate"]]
    assert set(frame.loc["lora"]) == {"reference"}
    for each in decided.each[1:]:
        assert list(frame.loc[each.method]) == [each.verdict, each.verdict_shared_rate]
    head, first, *_ = verdict_rows(decided)
    assert [first[head.index(name)] for name in ("verdict", "at one rate")] == ["", ""]


def test_markdown_and_html_have_the_same_rows(decided) -> None:
    markdown, html = decided.to_markdown(), decided._repr_html_()
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(decided.each) == html.count("<tr>")
    for row in rows[1:]:
        for cell in row.strip("| ").split(" | "):
            assert cell.replace(r"\*", "*").replace("<", "&lt;") in html


def test_the_methods_name_every_setting_and_the_sources(decided) -> None:
    study = STUDY.changed(
        {
            "steps": 77,
            "batch_size": 19,
            "warmup": 9,
            "schedule": "cosine",
            "eval_size": 41,
            "test_size": 907,
            "split_seed": 53,
        },
        across={"alpha": 13.0},
        compare=(*STUDY.compare, "pissa_flat", "orthogonal"),
        margin=0.031,
        coarse=3,
    )
    text = methods_of(study)
    said, sources = text.split("\n\n", 1)
    for word in (
        "3.1%", "77 steps", "19 prompts", "9 warm-up", "cosine", "alpha 13", "up to 41 held-out", "907", "53",
        "3 seeds", "4 seeds", "1e-3, 2e-3, 4e-3", "PiSSA (flat)", "glassllm", "number-words", ov.__version__,
    ):  # fmt: skip
        assert word in said, word
    assert "the base model was frozen, in" in said
    whole = STUDY.changed({"chat": True, "truncate": True, "max_length": 99}, compare=("lora", "olora", "full"))
    whole = methods_of(whole)
    assert "of at most 99 tokens, too long ones cut at the left, in the model's chat template" in whole
    assert "compared OLoRA with LoRA as the start of low-rank adapters of" in whole
    assert ", and Full fine-tuning of these layers with LoRA, on model glassllm" in whole
    assert "but for Full fine-tuning the base model was frozen" in whole
    whole = methods_of(STUDY.changed(compare=("lora", "full")))
    assert "compared Full fine-tuning with low-rank adapters of" in whole
    assert "started by LoRA, on model" in whole
    assert sources.count("@") == 4  # PiSSA and its variant share one
    assert sources.count("{") == sources.count("}")
    assert len(set(re.findall(r"@misc{(\w+),", sources))) == 4
    assert "eprint = {2404.02948}" in sources
    mine = ov.Initializer("mine", "Mine, own", lambda W, r: ov.lora(W, r), "Is plain LoRA.", "here")
    ov.register(mine)
    try:
        assert "Mine (own) is our own: Is plain LoRA. Examples" in methods_of(STUDY.changed(compare=("lora", "mine")))
    finally:
        ov.unregister("mine")
    title = "title = {{Linear least squares solutions by Householder transformations}}"
    fields = f"author = {{Businger and Golub}},\n  {title},\n  year = {{1965}},\n  howpublished"
    assert fields in bibtex(["olora_pivoted"])


def test_every_paper_that_a_start_is_from_has_its_title() -> None:
    entries = bibtex(sorted(BUILT_IN_STARTS)).split("\n\n")
    assert len(entries) > 15
    for entry in entries:
        assert ("author = " in entry) == ("title = {{" in entry), entry
    titles = re.findall("title = {{(.*)}}", "\n".join(entries))
    assert len(set(titles)) == len(titles) == len(TITLES)


def test_the_methods_say_what_ran_and_how_it_keeps_to_the_plan(decided, tmp_path) -> None:
    far = World(np.random.default_rng(5), 3, 60, 60, gap=0.4)
    far.best += 2.0  # beyond the rates that were planned
    folder = tmp_path / "study"
    STUDY.preregister(folder)
    ran = far.study(STUDY)
    rows = {trial: {**row, "preregistration": hash_of(folder)} for trial, row in ran.rows.items()}
    written(replace(ran, rows=rows), folder)
    found = ov.verdicts(folder)
    text = found.methods()
    rates = sorted({trial.lr for trial in found.rows})
    assert rates[-1] > 2 * max(STUDY.lrs)
    assert f"{len(rates)} rates ran, {compact(rates[0])} to {compact(rates[-1])}" in text
    for each in found.each:
        assert f"{compact(each.best_lr)} for {label_of(each.method)}" in text
    for words in ("at first 1e-3, 2e-3, 4e-3, and 4 seeds", f"None of {len(found.rows)} runs diverged"):
        assert words in text
    assert "mean loss on 60 held-out examples, and the starts were compared on 60 other test examples" in text
    assert f"As preregistered, before the first race (SHA-256 {hash_of(folder)[:12]}…)." in text
    wider = Ledger(folder, replace(STUDY, margin=0.3)).verdicts().methods()
    assert "Not as preregistered: margin was planned as 0.02 and is 0.3." in wider
    assert "reregistered" not in decided.methods()


def test_a_table_in_latex_has_the_columns_that_are_asked_for(decided) -> None:
    latex = decided.to_latex(columns=("start", "p", "difference"))
    assert r"\begin{tabular}{lrr}" in latex
    assert r"Start & $p$ & Difference \\" in latex
    whole = [cells_of(line) for line in decided.to_latex().splitlines() if line.startswith(("LoRA &", "OLoRA &"))]
    some = [cells_of(line) for line in latex.splitlines() if line.startswith(("LoRA &", "OLoRA &"))]
    assert some == [[row[0], row[6], row[4]] for row in whole]
    for wrong, rule in (
        (("strat",), "did you mean 'start'"),
        ((), "at least one column"),
        ("start", "a list of columns"),
    ):
        with pytest.raises(ValueError, match=rule):
            decided.to_latex(columns=wrong)


KEYS = (
    "lora:alpha=2r,beta1=0.8,beta2=0.99,clip=1,dropout=0.1,lora_plus=4,rslora=1,schedule=cosine,"
    "targets=q_proj+v_proj,warmup=3,weight_decay=0.1"
)


def test_whatever_a_method_differs_in_latex_can_write_it_and_the_words_speak_of_methods() -> None:
    study = STUDY.changed(compare=("lora", "olora", KEYS))
    nothing_ran = verdicts_of(study, {})
    latex, words = nothing_ran.to_latex(), nothing_ran.methods()
    assert r"$\alpha$/r 2" in latex
    assert latex.isascii()
    assert "of 3 methods" in latex
    assert "\nMethod & " in latex
    assert "low-rank adapters of rank 8 on all linear layers of the blocks, scaled by 1, but where a method's" in words
    on_two = verdicts_of(study.changed({"targets": ("q_proj", "v_proj")}), {}).methods()
    assert "of rank 8 on their target modules, scaled by 1" in on_two
    assert "All methods had the same rates" in words
    assert "a method is called better" in words
    of_starts = verdicts_of(STUDY, {})
    assert "of 3 starts" in of_starts.to_latex()
    assert "a start is called better" in of_starts.methods()


def test_what_was_decided_before_is_told_from_what_was_changed_later(decided, tmp_path) -> None:
    folder = tmp_path / "study"
    path = STUDY.preregister(folder)
    assert ov.verdicts(folder).deviations == []
    assert STUDY.preregister(folder) == path  # as by a cell that runs again
    with pytest.raises(ValueError, match="holds another plan"):
        replace(STUDY, margin=0.03).preregister(folder)
    assert ov.verdicts(folder).deviations == []
    sha256 = hash_of(folder)
    rows = {trial: {**row, "preregistration": sha256} for trial, row in decided.rows.items()}
    written(replace(decided, rows=rows), folder)
    assert ov.verdicts(folder).deviations == []
    assert sha256[:12] in ov.verdicts(folder)._repr_html_()
    wider = Ledger(folder, replace(STUDY, margin=0.3)).verdicts()
    assert wider.deviations == ["margin was planned as 0.02 and is 0.3"]
    path.write_text(path.read_text().replace("margin = 0.02", "margin = 0.3"))
    assert wider.deviations == [f"{FILE} has changed since the first race"]
    path.unlink()
    assert wider.deviations == [f"the file {FILE} is gone"]
    with pytest.raises(ValueError, match="has begun: decide before"):
        STUDY.preregister(folder)


def test_a_study_without_a_plan_from_before_says_nothing_of_it(decided, tmp_path) -> None:
    assert decided.deviations is None
    assert ov.verdicts(written(decided, tmp_path / "study")).deviations is None


def test_runs_carry_the_hash_and_measurements_of_ones_own_are_columns(tmp_path) -> None:
    study = ov.Study().changed(
        race={"steps": 2, "eval_size": 4, "test_size": 4, "batch_size": 4}, tune={"lr": (1e-3,)}, seeds=1
    )
    folder = tmp_path / "study"
    study.preregister(folder)
    measure = ov.Measure(
        key="size", title="Size", unit="‖θ‖", scale="log", compute=lambda race: race.lanes.theta.detach().norm(dim=1)
    )
    ov.register_measure(measure)
    try:
        list(ov.run_study(study, folder))
    finally:
        ov.unregister_measure("size")
    found = ov.verdicts(folder)
    assert found.deviations == []
    record = json.loads((folder / "verdicts.json").read_text())
    assert record["preregistration"] == {"sha256": hash_of(folder), "deviations": []}
    for each in found.each:
        assert each.measures["size"] > 1
        (run,) = [row for trial, row in found.rows.items() if trial.method == each.method]
        assert run["measures"] == each.measures
    np.testing.assert_array_equal(found.table()["size"], [each.measures["size"] for each in found.each])
    assert "| size |" in found.to_markdown()
    head, *rows = verdict_rows(found)
    assert [row[head.index("size")] for row in rows[: len(found.each)]] == [
        f"{e.measures['size']:.3g}" for e in found.each
    ]


def test_no_measurement_can_be_called_like_a_column() -> None:
    assert set(COLUMNS) <= NAMES_TAKEN | set(BUILT_IN_MEASURES)
