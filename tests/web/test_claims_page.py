"""The page Claims: what it takes from a visitor, and what a row says."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from support.measuring import words

from olora_viz.background import study
from olora_viz.background.study import BackgroundStudy
from olora_viz.learn.gallery.claims import CellVerdict, recorded_claims
from olora_viz.races.config import Settings
from olora_viz.races.step import FINISHED, STOPPED
from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.claims.claim import HOLDS, MIXED, NOT_MEASURED, Bar, Finding, not_measured
from olora_viz.studies.claims.evidence import ClaimEvidence
from olora_viz.views.claims import ShownFinding, bars, row, wins
from olora_viz.web import page
from olora_viz.web.claims import ClaimsView, minutes_within, put, view
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import TEXT, FilesOfPage, VisitorFiles
from olora_viz.web.jobs.queue import Jobs

LIMITS = Limits()
AT_START = [name for name, its in CLAIMS.items() if not its.needs_study]
FINDING = Finding(HOLDS, "A number, in words.", bars=(Bar("OLoRA", 2.0, 1.0, 3.0),), unit="nats")
TOLD = ShownFinding(FINDING, "glassllm, sentiment", "rank 8", "python -m olora_viz claims", "2026-11-26")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[ClaimEvidence]:
    """Let claims at the start be judged at once; return on what."""
    judged: list[ClaimEvidence] = []

    def judge(evidence: ClaimEvidence) -> Finding:
        judged.append(evidence)
        return replace(FINDING, words=f"On {evidence.task}.")

    known = {name: replace(its, judge=judge) for name, its in CLAIMS.items() if name in AT_START}
    monkeypatch.setattr(study, "CLAIMS", {**CLAIMS, **known})
    return judged


def files() -> FilesOfPage:
    return FilesOfPage(VisitorFiles(LIMITS), "a page")


def shown(work: BackgroundStudy) -> ClaimsView:
    return view(work, 0, last=True)


@pytest.mark.parametrize(
    ("at", "value", "sentence"),
    [
        (0, "/etc", "unknown model"),
        (1, "../passwd", "unknown task"),
        (1, "hf:owner/name", "unknown task"),
        (2, 1e9, "minutes must be one of 0, 1, 2, 5, 10, 20, not"),
        (2, -1, "minutes must be one of"),
        (2, None, "minutes must be one of"),
        (2, False, "minutes must be one of"),
        (2, [0], "minutes must be one of"),
    ],
)
def test_a_visitor_s_values_are_checked_on_the_server(jobs: Jobs, at: int, value: Any, sentence: str) -> None:
    asked: list[Any] = ["glassllm", "sentiment", 0]
    asked[at] = value
    with pytest.raises(ValueError, match=sentence):
        put(jobs, LIMITS, files(), asked)


def test_the_minutes_stay_within_the_server_s_limit_and_none_is_always_offered() -> None:
    assert minutes_within(Limits(max_seconds=400)) == [0, 1, 2, 5]
    assert minutes_within(Limits(max_seconds=20)) == [0]
    put_within = Limits(max_rank=4, max_batch=2)
    assert put_within.max_rank < ClaimEvidence.rank


def test_without_minutes_claims_on_training_keep_what_is_recorded(jobs: Jobs, quick: list[ClaimEvidence]) -> None:
    work = put(jobs, LIMITS, files(), ["glassllm", "sentiment", 0])
    assert work.wait(60)
    assert work.state == FINISHED, work.note
    assert list(work.findings) == AT_START
    assert len({id(one) for one in quick}) == 1, "the model is loaded once"
    found = shown(work)
    assert len(found.flat) == len(ClaimsView().flat)
    assert found.test == gr.update(interactive=True)
    for name, row_ in zip(CLAIMS, found.rows, strict=True):
        assert ("measured here" in row_) == (name in AT_START)


def test_an_own_file_is_measured_and_its_path_stays_on_the_server(jobs: Jobs, quick: list[ClaimEvidence]) -> None:
    brought = VisitorFiles(LIMITS)
    rows = [f'{{"prompt": "{a} and one make", "answer": "{a + 1}"}}' for a in range(60)]
    token = brought.bring("a page", "sums.jsonl", "\n".join(rows)).token
    work = put(jobs, LIMITS, FilesOfPage(brought, "a page"), ["glassllm", token, 0])
    assert work.wait(60)
    assert Path(quick[0].task).parent != Path()
    assert quick[0].max_length
    text = "".join(map(str, shown(work).flat))
    assert "On your-file.jsonl." in text
    assert "--task your-file.jsonl" in text
    assert str(Path(quick[0].task).parent) not in text
    assert str(jobs.folder) not in text


def test_claims_have_the_settings_of_their_examples_and_no_others(jobs: Jobs, quick: list[ClaimEvidence]) -> None:
    settings = Settings(warmup=9, truncate=True, chat=True).values()
    work = put(jobs, LIMITS, files(), ["glassllm", "sentiment", 1, settings])
    assert (work.config.truncate, work.config.chat, work.config.warmup) == (True, True, 0)
    assert work.wait(60)
    assert (quick[0].truncate, quick[0].chat) == (True, True)
    refused = not_measured("the model 'glassllm' has no chat template: race it without chat")
    assert all(work.findings[name] == refused for name, claim in CLAIMS.items() if claim.needs_study)
    assert "prompts in the model&#39;s chat template, long examples cut" in "".join(shown(work).rows)
    assert "--truncate --chat" in "".join(shown(work).rows)
    for sent in ("1", None, ["chat"]):
        put(jobs, LIMITS, files(), ["glassllm", "sentiment", 0, sent])
    with pytest.raises(ValueError, match="chat must be 0 or 1, not 'yes'"):
        put(jobs, LIMITS, files(), ["glassllm", "sentiment", 0, {"chat": "yes"}])


def test_what_cannot_be_measured_is_a_sentence_in_its_row(
    jobs: Jobs, quick: list[ClaimEvidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: ClaimEvidence) -> Finding:
        raise ValueError("this model has no layer for it")

    first, *others = AT_START
    known = {**study.CLAIMS, first: replace(CLAIMS[first], judge=refuse)}
    monkeypatch.setattr(study, "CLAIMS", known)
    work = put(jobs, LIMITS, files(), ["glassllm", "sentiment", 0])
    assert work.wait(60)
    assert work.findings[first] == not_measured("this model has no layer for it")
    assert "1 not measured: each says why" in shown(work).status
    assert {work.findings[name].verdict for name in others} == {HOLDS}


def test_a_study_comes_after_the_start_with_an_own_text_to_keep_and_a_stop_in_it_keeps_what_was_found(
    jobs: Jobs, quick: list[ClaimEvidence]
) -> None:
    brought = VisitorFiles(LIMITS)
    keep = brought.bring("a page", "diary.txt", "The old king walked to the sea. " * 60, kind=TEXT).token
    work = put(jobs, LIMITS, FilesOfPage(brought, "a page"), ["glassllm", "sentiment", 1, {"keep": keep}])
    while not work.complete and work.known is None:
        work.newer(work.version, 1)
    assert list(work.findings) == AT_START
    jobs.stop(work)
    assert work.wait(60)
    assert work.state == STOPPED, work.note
    about_training = {one.verdict for name, one in work.findings.items() if name not in AT_START}
    assert about_training <= {NOT_MEASURED, "undecided"}
    assert work.known is not None
    assert work.known.plan.study.race.keep == str(work.own_files["keep"])
    work.findings |= dict.fromkeys(CLAIMS, FINDING)
    rows = dict(zip(CLAIMS, shown(work).rows, strict=True))
    assert [name for name in CLAIMS if "--keep your-text.txt" not in rows[name]] == AT_START
    assert str(work.own_files["keep"].parent) not in "".join(rows.values())


def test_a_test_that_nobody_follows_ends_and_says_so(jobs: Jobs, quick: list[ClaimEvidence]) -> None:
    work = put(jobs, LIMITS, files(), ["glassllm", "sentiment", 1])
    work.grace = -1.0
    assert work.wait(120)
    assert work.state == STOPPED
    assert "nobody follows it" in work.note


# What a row says -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLAIMS)
def test_a_row_without_findings_is_not_measured_and_says_how_it_would_be(name: str) -> None:
    claim = CLAIMS[name]
    said = words(row(claim, []))
    for part in (NOT_MEASURED, claim.source, claim.measured[:20]):
        assert part in said
    assert '<div class="bar-line"' not in row(claim, [])


def test_findings_together_make_the_verdict_of_a_row_and_stay_one_by_one_in_its_fold() -> None:
    other = replace(TOLD, finding=replace(FINDING, verdict="fails"), where="glassllm, addition")
    said = row(CLAIMS["depth"], [TOLD, other])
    verdicts = re.findall(r'class="verdict ([\w-]+)"', said)
    assert verdicts == [MIXED, HOLDS, "fails"]
    assert words(said).count("recorded on 2026-11-26") == 2
    assert "measured here" not in said


def test_what_is_measured_takes_a_row_for_itself_and_says_so() -> None:
    here = replace(TOLD, finding=replace(FINDING, verdict="fails"), when="")
    said = row(CLAIMS["depth"], [TOLD], here)
    before, fold = said.split("<details>")
    assert re.findall(r'class="verdict (\w+)"', before) == ["fails"]
    assert "measured here" in before
    assert "recorded" not in before
    assert "recorded on" in fold


def test_what_cannot_be_measured_here_keeps_what_is_recorded_and_says_why() -> None:
    here = replace(TOLD, finding=not_measured("the study has one rank: give it several"), when="")
    said = row(CLAIMS["depth"], [TOLD], here).split("<details>")[0]
    assert re.findall(r'class="verdict (\w+)"', said) == [HOLDS]
    assert "Not measured here: the study has one rank: give it several. Recorded: " in words(said)
    alone, fold = row(CLAIMS["depth"], [], here).split("<details>")
    assert re.findall(r'class="verdict ([\w-]+)"', alone) == ["not-measured"]
    assert ">not measured here<" in alone
    assert "· not measured here" in fold


def test_text_of_a_visitor_is_escaped() -> None:
    told = replace(TOLD, where="<b>x</b>", command="<i>", finding=replace(FINDING, words="<u>"))
    assert not re.search("<b>x|<i>|<u>", row(CLAIMS["depth"], [told]).replace("<i style", ""))


def test_bars_share_a_scale_with_zero_and_have_their_start_s_colour() -> None:
    drawn = bars(
        replace(FINDING, bars=(Bar("LoRA", -1.0), Bar("OLoRA, r 8", 3.0, 1.0, 1e9), Bar("share", float("nan"))))
    )
    widths = [float(x) for x in re.findall(r"<i style=\"left:[\d.]+%;width:([\d.]+)%", drawn)]
    assert len(widths) == 2
    assert widths[1] == pytest.approx(3 * widths[0], abs=0.2)
    assert re.findall(r"--lane:var\(--(\w+)\)", drawn) == ["lora", "olora"]
    assert all(float(x) <= 100 for x in re.findall(r"(?:left|width):([\d.]+)%", drawn))


def test_the_table_of_wins_counts_cells_at_one_rate_and_at_best_rates() -> None:
    cell = CellVerdict("glassllm", "sentiment", 8, "better", "undecided", "2 of 3 seeds", 5, 60)
    said = words(wins([cell, replace(cell, r=16, at_best_rates="better")]))
    assert said.strip().startswith("2 of 2 at one rate, 1 of 2 at best rates")
    assert "too few to tell" in said
    assert "No study" in wins([])


def test_a_tag_is_undecided_only_where_no_set_up_has_decided() -> None:
    of_claim: dict[str, list[ShownFinding]] = {}
    for finding in recorded_claims().findings:
        of_claim.setdefault(finding.claim, []).append(ShownFinding.of(finding))
    for name, shown in of_claim.items():
        drawn = str(row(CLAIMS[name], shown))
        tag = re.search(r'<span class="verdict [\w-]+">([^<]+)</span>', drawn)
        assert tag
        decided = {each.finding.verdict for each in shown} - {"undecided", NOT_MEASURED}
        assert (tag[1] == "undecided") == (not decided), name
        if counted := re.fullmatch(r"(\w+) on (\d+) of (\d+)", tag[1]):
            assert f"Of {counted[3]} set-ups: " in drawn
            assert f"{counted[1]} on {counted[2]}" in drawn


def test_every_claim_of_the_catalogue_has_a_row_that_events_fill(jobs: Jobs) -> None:
    demo = page.build(LIMITS, jobs)
    ids = {block.elem_id: block for block in demo.blocks.values()}
    for name in CLAIMS:
        filled = [fn for fn in demo.fns.values() if ids[f"claim-{name}"] in fn.outputs]
        assert len(filled) == 2


def test_on_too_few_rows_the_claims_about_training_say_how_many_are_missing(
    jobs: Jobs, quick: list[ClaimEvidence], tmp_path: Path
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("prompt,answer\n" + "".join(f"{n} and 2 make,{n + 2}\n" for n in range(60)))
    asked = put(jobs, LIMITS, files(), ["glassllm", "sentiment", 1])
    jobs.stop(asked)
    asked.wait(60)
    folder = jobs.folder / "claims-claims-claims-c"
    config = replace(asked.config, task=str(path))
    work = BackgroundStudy(folder.name, config, folder, asked.styles, minutes=1.0, question=asked.question)
    assert jobs.put(work).wait(60)
    assert work.state == FINISHED, work.note
    for name, claim in CLAIMS.items():
        if claim.needs_study:
            assert work.findings[name].verdict == NOT_MEASURED
            assert "and a verdict needs at least 20" in work.findings[name].words
