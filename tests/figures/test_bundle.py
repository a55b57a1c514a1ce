"""JavaScript modules as one text keep what they are: names apart, order, exports."""

from pathlib import Path
from urllib.parse import unquote

import pytest

from olora_viz.figures.live.bundle import bundle, joined
from olora_viz.figures.live.serving import HERE, PACKAGE, installed

ENTRIES = (
    "figure.js",
    "figure_export.js",
    "lane_table.js",
    "plotted.js",
    "standing_alone.js",
    "../../notebook/widget/panel.js",
    "../../web/race/inside.js",
    "gradio/chart.js",
    "gradio/charts.js",
)


def modules(folder: Path, **texts: str) -> Path:
    """Write modules; return the first one."""
    for name, text in texts.items():
        (folder / f"{name}.js").write_text(text)
    return folder / f"{next(iter(texts))}.js"


def test_modules_come_after_what_they_import_and_once(tmp_path: Path) -> None:
    entry = modules(
        tmp_path,
        a='import { b } from "./b.js";\nimport {\n  c as other,\n} from "./c.js";\nexport { b };\n',
        b='import { c } from "./c.js";\nexport const b = c + 1;\n',
        c="// Why.\nconst hidden = 1;\nexport const c = hidden;\n",
    )
    text = bundle(entry)
    assert text == bundle(entry)
    assert text.count("hidden = 1") == 1
    assert text.index("hidden = 1") < text.index("b = c + 1") < text.index("export { b };")
    assert "c: other" in text
    assert "Why" not in text
    assert "import" not in text


def test_a_comment_ends_where_it_ends(tmp_path: Path) -> None:
    kept = '/** @type {number} */ export const a = "/* no comment */";\nf(/* in a line */ a);\n'
    assert bundle(modules(tmp_path, a=f"/**\n * Gone.\n */\n{kept}/* gone */\n")) == kept


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ('export { b } from "./b.js";\n', "a.js must import names"),
        ('import b from "elsewhere";\n', "a.js must import names"),
        ('import { b } from "./b.js";\n', "b.js must export in a declaration or a list"),
    ],
)
def test_a_form_that_would_be_lost_is_refused(tmp_path: Path, other: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bundle(modules(tmp_path, a=other, b="const b = 1;\nexport default b;\n"))


def test_a_package_is_a_constant_and_what_is_imported_later_comes_before_the_entry(tmp_path: Path) -> None:
    entry = modules(
        tmp_path,
        a='import * as all from "./b-c.js";\nimport { x } from "package";\nexport const a = x + all.y;\n',
        **{"b-c": 'const one = 1;\nconst f = async () => await import("./later.js");\nexport { one as y, f };\n'},
        later='import { y } from "./b-c.js";\nexport const twice = 2 * y;\n',
    )
    text = joined(entry, "$a", {"package": "$package"})
    assert "const all = $a0_b_c;" in text
    assert "const { x } = $package;" in text
    assert "return { y: one, f };" in text
    assert "const f = async () => $a1_later;" in text
    assert "import" not in text
    order = [text.index(f"const {name} = (() =>") for name in ("$a0_b_c", "$a1_later", "$a")]
    assert order == sorted(order)
    assert text.endswith("return { a };\n})();\n")
    assert "const $a = (() =>" in text


def test_a_circle_is_refused(tmp_path: Path) -> None:
    entry = modules(
        tmp_path,
        a='import { b } from "./b.js";\nexport const a = 1;\n',
        b='import { a } from "./a.js";\nexport const b = 1;\n',
    )
    with pytest.raises(ValueError, match=r"a\.js → b\.js → a\.js"):
        bundle(entry)


def test_every_module_of_the_charts_is_served() -> None:
    served = "".join(bundle(HERE / name) for name in ENTRIES)
    entries = {(HERE / name).resolve() for name in ENTRIES}
    for path in (*HERE.rglob("*.js"), *(PACKAGE / "notebook").rglob("*.js")):
        if path not in entries:
            assert f"_{path.stem} = (() =>" in served, path.name


def test_a_page_is_served_one_file_whose_name_changes_with_its_text() -> None:
    address, version = installed(HERE / "figure.js").split("?v=")
    path = Path(unquote(address.removeprefix("/gradio_api/file=")))
    assert path.read_text(encoding="utf-8") == bundle(HERE / "figure.js")
    assert not path.is_relative_to(PACKAGE)
    assert version in path.name
