"""Finding what a figure draws by what it is, not by where it lies in the list."""

from typing import Any


def traces(figure: dict[str, Any], name: str | None = None, **fields: object) -> list[dict]:
    """Return a figure's traces of this name, all of whose other fields are as given."""
    wanted = fields if name is None else {"name": name, **fields}
    return [t for t in figure["data"] if all(t.get(key) == value for key, value in wanted.items())]


def trace(figure: dict[str, Any], name: str | None = None, **fields: object) -> dict[str, Any]:
    """Return the one trace of this name, all of whose other fields are as given."""
    found = traces(figure, name, **fields)
    there = [(t.get("name"), t["type"], t.get("mode"), t.get("meta")) for t in figure["data"]]
    assert len(found) == 1, f"{len(found)} traces are {name!r} with {fields} among {there}"
    return found[0]


def labels(figure: dict[str, Any]) -> list[str]:
    """Return the texts inside a figure."""
    return [label["text"] for label in figure["layout"]["annotations"]]
