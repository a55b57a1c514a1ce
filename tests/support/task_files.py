"""Task files as a test writes them."""

from olora_viz.tasks import load_task

PAIR = '{"prompt": "one and one make", "answer": "two"}'


def write(folder, name, content):
    """Write a file as it is, line ends included."""
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return path


def load(folder, name, content):
    """Write a file, and load it as a task."""
    return load_task(write(folder, name, content))
