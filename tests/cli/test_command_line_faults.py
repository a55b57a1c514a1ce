"""Bad input on the command line: exit code 2 and one sentence."""

import json
import re
import resource
import subprocess
import sys
import traceback
from argparse import Namespace
from importlib.metadata import PackageNotFoundError

import pyarrow
import pytest
import torch
from safetensors import SafetensorError
from support.tiny import tiny, tiny_tokenizer
from support.verbs import RACE, run, run_alone

from olora_viz.cli.console import out_of_memory


@pytest.mark.parametrize("form", ["merged", "lora", "olora"])
def test_a_full_disk_leaves_nothing_of_an_export(form, tmp_path):
    folder = str(tmp_path / "run")
    assert run(*RACE, "--lane", "olora:r=64", "--run", folder).returncode == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500 * 1024, hard))  # ulimit -f 500
    try:
        done = run("export", folder, "--lane", "olora", "--form", form, "--out", str(tmp_path / "out"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.returncode == 2
    (sentence,) = done.stderr.strip().splitlines()
    assert sentence.startswith("error: cannot write ")
    assert "too large" in sentence
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_lane_that_diverged_beyond_numbers_is_not_exported(tmp_path):
    folder = str(tmp_path / "run")
    assert run(*RACE, "--lane", "lora", "--lane", "olora:lr=1e30", "--run", folder).returncode == 0
    done = run("export", folder, "--lane", "olora", "--out", str(tmp_path / "a"), "--form", "merged")
    assert done.returncode == 2
    assert "lane 'olora' holds NaN or infinity in layer 'model." in done.stderr
    assert not (tmp_path / "a").exists()


def test_a_damaged_run_is_one_sentence(tmp_path):
    folder = tmp_path / "run"
    assert run(*RACE, "--lane", "lora:r=2", "--run", str(folder)).returncode == 0
    (folder / "checkpoint.safetensors").write_bytes(b"")
    done = run("race", "--resume", str(folder))
    assert done.returncode == 2
    (sentence,) = done.stderr.strip().splitlines()
    assert "checkpoint.safetensors' is damaged" in sentence


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("race", "--lane", "olra"), "unknown initialization 'olra'; did you mean 'olora'"),
        (("race", "--lane", "olora:r=999"), "rank 999 exceeds min(out, in) = 128 of 'model.layers.0"),
        (("race", "--lane", "lora:r=999"), "lower rank, or name other layers with --target"),
        (("race", "--lane", "olora:lr=-1"), "learning rate must be a positive number, not -1.0"),
        (("race", "--model", "glasllm"), "glassllm"),
        (("race", "--task", "adition"), "'addition'"),
        (("race", "--task", "missing.json"), "missing.json"),
        (("race", "--steps", "0"), "steps must be a whole number from 1"),
        (("race", "--steps", "ten"), "invalid int value: 'ten'"),
        (("race", "--max-length", "4096"), "4096"),
        (("race", "--target", "qproj"), "no linear layer's name ends in 'qproj'"),
        (("race", "--resume", "nowhere"), "'nowhere' is not a run folder"),
        (("race", "--resume", "nowhere", "--steps", "5"), "'nowhere' is not a run folder"),
        (("race", "--resume", "nowhere", "--seed", "5"), "pass no other options than --steps"),
        (("race", "--resume", "nowhere", "--run", "x"), "--resume takes the set-up from"),
        (("race", "--resume", ""), "argument --resume: a path must not be empty"),
        (("race", "--run", ""), "argument --run: a path must not be empty"),
        (("race", "--test", ""), "argument --test: must not be empty"),
        (("decide", "--init", "", "--out", "x"), "argument --init: must not be empty"),
        (("study", "x", "--png", "."), "argument --png: '.' is a folder: name a file in it"),
        (("inspect", "x", "--html", "."), "argument --html: '.' is a folder: name a file in it"),
        (("gradients", "--png", "new/"), "argument --png: 'new/' is a folder: name a file in it"),
        (("curvature", "--png", f"{__file__}/x.png"), f"{__file__!r} is not a folder"),
        (("export", "x", "--lane", "x", "--out", f"{__file__}/x"), f"{__file__!r} is not a folder"),
        (("start", "--model", "x", "--out", f"{__file__}/x"), f"{__file__!r} is not a folder"),
        (("start", "--model", "x", "--out", "x", "--residual", f"{__file__}/x"), f"{__file__!r} is not a folder"),
        (("site", f"{__file__}/x"), f"{__file__!r} is not a folder"),
        (("race", "--run", f"{__file__}/x"), f"{__file__!r} is not a folder"),
        (("study", "--out", f"{__file__}/x"), f"{__file__!r} is not a folder"),
        (("decide", "--out", f"{__file__}/x/y"), f"{__file__!r} is not a folder"),
        (("serve", "--host", ""), "argument --host: must not be empty"),
        (("inspect", "x", "--model", " "), "argument --model: must not be empty"),
        (("spectrum", "--seed", "99999999999"), "seed must be a whole number from 0 to 2147483647, not 99999999999"),
        (("export", "x", "--lane", "x", "--out", ""), "argument --out: a path must not be empty"),
        (("export", "nowhere", "--lane", "x", "--out", "y"), "'nowhere' is not a run folder"),
        (("export", "nowhere", "--out", "y"), "'nowhere' is not a folder on this machine"),
        (("export", "nowhere", "--lane", "x", "--out", "y", "--model", "z"), "--model is for adapters"),
        (("claims", "--rank", "0"), "rank must be a whole number from 1"),
        (("study", "/nope"), "no such folder: /nope"),
        (("study", "nope.toml"), "no such file: nope.toml"),
        (("study", "nope", "--out", "study"), "no such file: nope"),
        (("rase",), "rase"),
        ((), "VERB"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_sentence(arguments, message, tmp_path):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (sentence,) = done.stderr.replace("\r", "").strip().splitlines()
    assert message in sentence
    assert "Traceback" not in done.stderr


def test_bad_input_in_a_process_of_its_own_ends_likewise():
    done = run_alone("race", "--steps", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: steps must be a whole number from 1 to 2147483647, not 0\n"


def test_a_broken_task_file_is_named_with_its_line(tmp_path):
    file = tmp_path / "task.jsonl"
    file.write_text('{"prompt": "a", "answer": " b"}\n{"prompt": "c"\n')
    done = run("race", "--task", str(file), "--run", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "line 2" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_prompt_longer_than_the_context_is_named(tmp_path):
    file = tmp_path / "task.jsonl"
    rows = [{"prompt": "a", "answer": " b"}] * 9 + [{"prompt": "long " * 200, "answer": " b"}]
    file.write_text("".join(json.dumps(row | {"prompt": f"{i} {row['prompt']}"}) + "\n" for i, row in enumerate(rows)))
    done = run("race", "--task", str(file))
    assert done.returncode == 2
    assert "128" in done.stderr
    assert "line 10" in done.stderr


def test_a_study_in_a_file_needs_a_folder_for_its_results(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text('tasks = ["sentiment"]\n')
    done = run("study", str(file))
    assert done.returncode == 2
    assert done.stderr == "error: a study needs --out DIR, the folder for its results\n"


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A model with 30 blocks of seven layers, as SmolLM2 has, and a task within its context."""
    model = tiny("llama", blocks=30)
    for n in (3, 5):  # nothing passes the attention of these blocks
        model.get_submodule(f"model.layers.{n}.self_attn.o_proj").weight.zero_()
    folder = tmp_path_factory.mktemp("deep")
    model.save_pretrained(folder)
    tiny_tokenizer(pad_token="<pad>", bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    task = folder / "task.jsonl"
    rows = [{"prompt": f"{a}{b}", "answer": f" {b}"} for a in "abcdefgh" for b in "stuvwxyz"]
    task.write_text("\n".join(map(json.dumps, rows)))
    return "--model", str(folder), "--task", str(task), "--max-length", "32", "--lane", "lora:r=2"


def test_a_list_of_layers_is_cut_with_a_count(deep):
    for arguments in (
        ("spectrum", *deep[:2], "--rank", "2", "--layer", "zzz"),
        ("curvature", *deep, "--layer", "zzz"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        *signs, sentence = done.stderr.strip().splitlines()
        assert [sign for sign in signs if not sign.endswith("%")] == []  # a slow machine has signs of long work
        assert "zzz" in sentence
        assert re.search(r"model\.layers\.\d+\.\S+ and (19|20)\d more$", sentence)
        assert len(sentence) < 600


def test_a_race_says_each_thing_once(tmp_path):
    done = run(*RACE, "--lane", "lora:r=2", "--run", str(tmp_path / "run"))
    assert done.returncode == 0
    for words in ("every lane adapts 28 layers", "left out: ", "held out", "Evaluated on"):
        assert (done.stdout + done.stderr).count(words) == 1
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert len(lines) == len(set(lines))


def test_layers_without_a_gradient_are_named_once_after_the_race(deep):
    done = run(*RACE, *deep)
    assert done.returncode == 0, done.stderr
    first = "model.layers.3.self_attn."
    assert done.stdout.splitlines()[-1] == (
        f"no gradient in the first step: {first}q_proj, {first}k_proj, {first}v_proj and 3 more"
    )
    assert "no gradient" not in done.stderr


def broken(monkeypatch, error):
    """Make a verb fail in its midst, with its progress on screen."""

    def load(*_, progress, **__):
        progress(0.4, "loading")
        raise error

    monkeypatch.setattr("olora_viz.models.load_model", load)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("mat1 and mat2\nshapes differ"), "RuntimeError: mat1 and mat2; "),
        (KeyError("rope"), "KeyError: 'rope' is missing; "),
        (AssertionError(), "AssertionError; "),
        (PackageNotFoundError("x"), "PackageNotFoundError: No package metadata was found for x; "),
        (SafetensorError("header"), "SafetensorError: header; "),
        (pyarrow.lib.ArrowNotImplementedError("type"), "ArrowNotImplementedError: type; "),
    ],
)
def test_an_unforeseen_error_is_one_sentence_with_a_log_to_report(error, words, monkeypatch, tmp_path):
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path))
    broken(monkeypatch, error)
    done = run("spectrum", "--layer", "q proj")
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    (log,) = tmp_path.iterdir()
    assert sentence == f"error: unexpected {words}please report it with the log {str(log)!r}"
    text = log.read_text("utf-8")
    assert text.startswith("python -m olora_viz spectrum --layer 'q proj'\n")
    assert f"torch {torch.__version__}" in text
    assert "Traceback (most recent call last)" in text
    assert text.rstrip().splitlines()[-1] in traceback.format_exception_only(error)[-1]


def test_the_log_is_a_temporary_file_where_the_cache_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    broken(monkeypatch, ZeroDivisionError("division by zero"))
    done = run("spectrum")
    assert done.returncode == 1
    (log,) = tmp_path.glob("olora-viz-error-*/error-*.log")
    assert repr(str(log)) in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate"),
    ],
)
def test_short_memory_is_a_sentence_on_what_to_lower(error, monkeypatch, tmp_path):
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path))
    broken(monkeypatch, error)
    done = run("spectrum")
    assert done.returncode == 1
    assert done.stderr == "error: out of memory: lower --rank, or use a smaller model\n"
    assert not [*tmp_path.iterdir()]


def test_an_operation_that_the_device_lacks_is_named_with_what_helps(monkeypatch):
    broken(monkeypatch, NotImplementedError("The operator 'aten::geqrf' is not implemented for the MPS device"))
    done = run("spectrum")
    assert done.returncode == 1
    helps = "set PYTORCH_ENABLE_MPS_FALLBACK=1 on a Mac, or take device cpu"
    assert done.stderr == f"error: the device does not compute aten::geqrf: {helps}\n"


def test_the_end_of_a_command_does_not_search_all_libraries_for_cycles():
    words = "import atexit, gc, olora_viz.__main__; atexit._run_exitfuncs(); "
    words += "print(gc.get_freeze_count() > len(gc.get_objects()))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_the_advice_on_memory_names_options_of_the_verb():
    options = Namespace(batch_size=16, max_length=128, lane=None)
    assert out_of_memory(options).startswith(
        "out of memory: lower --batch-size, --max-length or the number of lanes, or "
    )
    assert out_of_memory(Namespace()) == "out of memory: use a smaller model"
