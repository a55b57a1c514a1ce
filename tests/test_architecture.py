"""Imports point down, and heavy libraries stay where they belong."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "olora_viz"

MAY_IMPORT = {
    "naming": set(),
    "initializers": set(),
    "theme": set(),
    "lane_linear": set(),
    "scales": set(),
    "step": {"curvature", "gradients", "trace"},
    "lane": {"initializers", "naming"},
    "layers": set(),
    "lane_layout": set(),
    "starts": {"initializers", "lane", "lane_layout", "layers"},
    "adapters": {"initializers", "lane", "lane_layout", "lane_linear", "layers", "starts"},
    "patience": set(),
    "models": {"naming", "patience"},
    "tasks": {"naming", "patience"},
    "losses": {"tasks"},
    "gradients": {"adapters", "scales"},
    "race_config": {"lane", "models", "naming"},
    "answers": {"adapters", "losses", "tasks"},
    "evidence": {"initializers", "lane", "layers", "losses", "models", "tasks"},
    "lane_groups": {"lane", "layers", "models"},
    "lane_optimizer": {"lane"},
    "lanczos": set(),
    "curvature": {"adapters", "lanczos"},
    "tangent_kernel": {"adapters"},
    "loss_slice": {"adapters"},
    "conditioning": {
        "adapters",
        "curvature",
        "lanczos",
        "lane_groups",
        "loss_slice",
        "losses",
        "models",
        "standing",
        "tangent_kernel",
        "tasks",
    },
    "fair_rate": {"adapters", "conditioning", "initializers", "lane", "race_config", "tasks"},
    "standing": {"losses"},
    "reading": {"losses", "race_config", "tasks"},
    "race": {
        "adapters",
        "answers",
        "conditioning",
        "curvature",
        "evidence",
        "fair_rate",
        "initializers",
        "gradients",
        "lane_groups",
        "lane_optimizer",
        "layers",
        "losses",
        "models",
        "race_config",
        "reading",
        "starts",
        "standing",
        "step",
        "tasks",
        "trace",
    },
    "spectra": {"initializers"},
    "weight_spectra": {"initializers", "naming", "spectra"},
    "layer_spectra": {
        "initializers",
        "known_spectra",
        "layers",
        "naming",
        "spectra",
        "weight_spectra",
    },
    "trace": {"adapters", "scales", "spectra"},
    "known_spectra": {"models", "spectra"},
    "inspection": {"initializers", "layers", "peft_format", "spectra", "weight_spectra"},
    "whole_files": set(),
    "peft_format": {"adapters", "initializers", "lane", "layers", "whole_files"},
    "merged_format": {"adapters", "layers", "whole_files"},
    "console": set(),
    "interruption": set(),
    "runs": {"peft_format", "race", "race_config", "step", "tasks", "whole_files"},
    "gallery": {
        "answers",
        "curvature",
        "gradients",
        "lane",
        "losses",
        "naming",
        "race",
        "race_config",
        "step",
        "theme",
        "trace",
        "whole_files",
    },
    "comparison": {"lane"},
    "story": {"comparison", "lane", "step", "theme"},
    "seed_groups": {"lane", "story", "theme"},
    "seed_bands": {"figure_parts", "theme"},
    "rate_sweep": {"comparison", "lane", "step", "theme"},
    "rate_figures": {"curve_labels", "figure_parts", "rate_sweep", "scales", "theme"},
    "rate_story": {"rate_sweep", "story", "theme"},
    "formulas": set(),
    "glossary": set(),
    "lessons": {
        "gallery",
        "initializers",
        "models",
        "naming",
        "race_config",
        "rate_story",
        "rate_sweep",
        "story",
        "theme",
    },
    "lesson_figures": {
        "conditioning_figures",
        "figure_parts",
        "figures",
        "gallery",
        "initializers",
        "lessons",
        "rate_figures",
        "rate_sweep",
        "spectrum_figures",
        "weight_spectra",
    },
    "curve_labels": {"theme"},
    "figure_parts": {"scales", "theme"},
    "spectrum_figures": {
        "curve_labels",
        "figure_parts",
        "inspection",
        "scales",
        "theme",
        "weight_spectra",
    },
    "step_map": {"figure_parts", "scales", "spectrum_figures"},
    "trace_figures": {"figure_parts", "scales", "spectrum_figures", "step_map", "theme", "trace"},
    "gradient_figures": {
        "curve_labels",
        "figure_parts",
        "gradients",
        "scales",
        "spectrum_figures",
        "step_map",
        "theme",
    },
    "conditioning_figures": {
        "conditioning",
        "curve_labels",
        "figure_parts",
        "scales",
        "step",
        "theme",
    },
    "loss_slice_figures": {"figure_parts", "loss_slice", "scales", "theme"},
    "png": {"figure_parts", "theme"},
    "run_tables": {"race_config", "step"},
    "scripts": {"initializers", "lane", "models", "race_config"},
    "report": {"inspection", "theme", "whole_files"},
    "off_range": {"theme"},
    "figures": {
        "curve_labels",
        "figure_parts",
        "off_range",
        "scales",
        "seed_bands",
        "step",
        "theme",
    },
    "run_comparison": {
        "curve_labels",
        "figure_parts",
        "lane",
        "race_config",
        "scales",
        "step",
        "theme",
    },
    "raced": {"race", "race_config", "runs", "step", "tasks", "theme"},
    "steps_frame": {"race", "race_config", "raced"},
    "plots": {
        "conditioning",
        "conditioning_figures",
        "figure_parts",
        "figures",
        "gradient_figures",
        "initializers",
        "layer_spectra",
        "models",
        "naming",
        "race",
        "race_config",
        "raced",
        "spectra",
        "spectrum_figures",
        "theme",
        "weight_spectra",
    },
    "live": {"figures", "theme"},
}
"""What each part may import of ours; the pages, the command line and `__init__` may import all."""

AT_HOME = {
    "gradio": {"web", "live"},
    "ipywidgets": {"notebook"},
    "anywidget": {"notebook", "live"},
    "plotly": {"figure_parts", "plots", "theme", "live"},
    "matplotlib": {"png"},
}


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = file.relative_to(ROOT).parts[: -node.level]
                base = ".".join([*above, *filter(None, [base])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_down(file):
    part = part_of(file)
    ours = {name.split(".")[1] for name in imports(file) if name.startswith("olora_viz.")}
    if part in ("web", "notebook", "__init__", "__main__") or part.endswith("_commands"):
        assert part in ("__init__", "__main__") or "__main__" not in ours
        return
    assert part in MAY_IMPORT, f"say in MAY_IMPORT what {part} may import"
    assert ours - {part} <= MAY_IMPORT[part]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_heavy_libraries_stay_where_they_belong(file):
    outside = {name.split(".")[0] for name in imports(file)}
    for library, homes in AT_HOME.items():
        assert library not in outside or part_of(file) in homes


def test_there_is_no_drawer_for_odds_and_ends():
    assert not {file.stem for file in FILES} & {"utils", "common", "helpers", "misc"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_nothing_of_ours_loads_code_or_pickles(file):
    text = file.read_text(encoding="utf-8")
    assert "trust_remote_code=True" not in text
    assert not {name.split(".")[0] for name in imports(file)} & {"pickle", "dill", "joblib"}
    assert "torch.load" not in text
