"""Files and folders are whole or not there, whatever happens while they are made."""

import json

import pytest
import torch
from safetensors import SafetensorError

from olora_viz.machine.files import atomic_folder, is_free, read_json_object, read_tensors, write_json, write_tensors


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder, fail: Exception | None = None) -> None:
    with atomic_folder(folder) as made:
        (made / "a").write_text("new")
        assert not (folder / "a").exists() or (folder / "a").read_text() == "old"
        if fail:
            raise fail
        (made / "b").write_text("new")


@pytest.mark.parametrize("state", ["absent", "empty", "left behind", "full"])
@pytest.mark.parametrize("fail", [None, OSError("disk full"), SafetensorError("disk full")])
def test_a_folder_is_made_as_a_whole_or_stays_as_it_was(tmp_path, state, fail):
    folder = tmp_path / "deep" / "out"
    if state != "absent":
        folder.mkdir(parents=True)
    if state == "left behind":  # by a writer that was killed
        (folder / ".partial").mkdir()
        (folder / ".partial" / "c").write_text("half")
    if state == "full":
        (folder / "a").write_text("old")
        (folder / "z").write_text("old")
    stood_in = folder.stat().st_ino if state in ("empty", "left behind") else None
    if fail:
        with pytest.raises(OSError, match="disk full"):
            fill(folder, fail)
        assert is_free(folder) == (state != "full")
        assert state != "full" or names(folder) == ["a", "z"]
    else:
        fill(folder)
        assert names(folder) == ["a", "b"]
        assert stood_in in (None, folder.stat().st_ino)
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("write", [lambda path: write_json(path, {}), lambda path: write_tensors(path, {}), fill])
def test_what_cannot_be_written_is_named_and_not_its_temporary_file(tmp_path, write):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "out"
    with pytest.raises(NotADirectoryError) as caught:
        write(path)
    assert caught.value.filename == str(path)


def test_a_file_is_not_a_free_folder(tmp_path):
    (tmp_path / "file").write_text("")
    assert not is_free(tmp_path / "file")
    assert not is_free(tmp_path)
    assert is_free(tmp_path / "new")


def test_what_was_written_reads_back(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, None, "ß"]})
    assert read_json_object(tmp_path / "a.json") == {"x": [1, None, "ß"]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, None, "ß"]}
    write_tensors(tmp_path / "t.safetensors", {"x": torch.arange(3.0)})
    assert torch.equal(read_tensors(tmp_path / "t.safetensors")["x"], torch.arange(3.0))
    with pytest.raises(OSError, match=r"nowhere\.safetensors"):
        read_tensors(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("content", [b"", b"no header", b"\x10" + 20 * b"\0"])
def test_tensors_that_are_damaged_are_named(tmp_path, content):
    (tmp_path / "t.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.safetensors' is damaged: "):
        read_tensors(tmp_path / "t.safetensors")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff"])
def test_what_is_no_json_object_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json' (is not JSON|must hold a JSON object)"):
        read_json_object(tmp_path / "a.json")
