"""What a figure is in print: no word is cut or covered."""

from itertools import combinations
from typing import Any

from matplotlib.text import Text


def words_in(canvas: Any) -> list[Text]:
    """Return the words that are seen."""
    beyond = {
        tick.label1
        for axes in canvas.axes
        for axis, (low, high) in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim())))
        for tick in axis.get_major_ticks()
        if not low <= tick.get_loc() <= high
    }
    return [text for text in canvas.findobj(Text) if text.get_text() and text.get_visible() and text not in beyond]


def check_print(canvas: Any, least: int = 6) -> None:
    """Check that no words are cut and no two meet; those that are turned by half an angle only for the former.

    Args:
        least: texts that the figure has.
    """
    canvas.draw_without_rendering()
    wide, high = canvas.bbox.width, canvas.bbox.height
    seen = words_in(canvas)
    assert len(seen) >= least
    boxes = [text.get_window_extent() for text in seen]
    for text, box in zip(seen, boxes, strict=True):
        cut = (box.x0, box.y0, wide - box.x1, high - box.y1)
        assert min(cut) > -1, (text.get_text(), cut)
        assert text.get_fontsize() >= 7
    for (a, one), (b, other) in combinations(zip(seen, boxes, strict=True), 2):
        if {a.get_rotation(), b.get_rotation()} <= {0, 90}:
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            along = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(across, along) < 2, (a.get_text(), b.get_text(), across, along)
