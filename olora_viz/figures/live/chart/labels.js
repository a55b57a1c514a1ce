// Labels at the ends of curves.

/** @import { Annotation, Layout } from "../types.d.ts" */

const GAP = 14; // pixels between the centres of two labels of the usual size
const MARK = 15; // pixels that the mark of a bet takes beside a label
const FAR = 9; // pixels from the end of its curve, from which on a line leads to a label
const LINE = 20; // pixels between the two then

/**
 * Return the lane that a label names.
 *
 * @param {Annotation} label
 */
export function laneOf(label) {
  return label.name?.slice(4);
}

/**
 * Keep the labels of a layout apart, strike out those of hidden lanes, mark the one that was bet on,
 * and drop those of curves that end outside the visible range.
 *
 * @param {Layout} layout changed in place
 * @param {{ height: number, scale: number, narrow: boolean, hidden: Set<string>, bet?: string }} how height of the
 *   plot area, and scale of the text
 * @returns {string[]} the lanes that a click on a label hides or shows
 */
export function placeLabels(layout, { height, scale, narrow, hidden, bet }) {
  const named = [];
  let [mark, room] = [0, 0];
  const [low, high] = layout.yaxis.range ?? [0, 1];
  const pixels = height / (high - low);
  for (const kind of ["end ", "out "]) {
    const labels = (layout.annotations ?? []).filter((label) => label.name?.startsWith(kind));
    const shown = labels.filter(({ y }) => y >= low && y <= high);
    const wanted = shown.map(({ y }) => (y - low) * pixels);
    spread(wanted, GAP * scale, 0, height).forEach((place, i) => {
      shown[i].yshift = place - wanted[i];
    });
    for (const label of kind === "end " ? shown : [])
      if (Math.abs(label.yshift ?? 0) > FAR * scale) {
        room = Math.max(room, LINE - (label.xshift ?? 0));
        lead(label);
      }
    for (const label of labels) {
      const lane = laneOf(label) ?? "";
      if (label.captureevents) named.push(lane);
      label.visible = shown.includes(label) && inside(label.x, layout.xaxis.range);
      if (narrow) label.font.size = 11;
      if (bet && lane === bet) {
        label.text = `◆ ${label.text}`;
        mark = MARK * scale;
      }
      if (hidden.has(lane)) {
        label.opacity = 0.45;
        label.text = `<s>${label.text}</s>`;
      }
    }
  }
  layout.margin.r += mark + room;
  return named;
}

/** Draw a line from the end of a curve to its label. @param {Annotation} label changed in place */
function lead(label) {
  const { yshift = 0, font } = label;
  const line = {
    showarrow: true,
    arrowhead: 0,
    arrowwidth: 1,
    arrowcolor: font.color,
    standoff: 4,
  };
  Object.assign(label, line, {
    ax: LINE,
    ay: -yshift,
    xshift: 0,
    yshift: 0,
    bgcolor: "transparent",
  });
}

/**
 * Move positions apart as little as needed (isotonic regression), within [low, high]: the same as
 * `spread` in olora_viz/figures/layout.py, which cannot know the reader's screen.
 *
 * @param {number[]} wanted
 * @param {number} gap
 * @param {number} low
 * @param {number} high
 * @returns {number[]}
 */
export function spread(wanted, gap, low, high) {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]);
  /** @type {{ total: number, count: number }[]} */
  const blocks = [];
  order.forEach((i, rank) => {
    let block = { total: wanted[i] - rank * gap, count: 1 };
    for (let below = blocks.at(-1); below && mean(below) > mean(block); below = blocks.at(-1)) {
      blocks.pop();
      block = { total: below.total + block.total, count: below.count + block.count };
    }
    blocks.push(block);
  });
  const means = blocks.flatMap((block) => Array(block.count).fill(mean(block)));
  const top = Math.max(low, high - gap * (wanted.length - 1));
  const out = Array(wanted.length);
  order.forEach((i, rank) => {
    out[i] = Math.min(Math.max(means[rank], low), top) + rank * gap;
  });
  return out;
}

/** @param {{ total: number, count: number }} block */
function mean({ total, count }) {
  return total / count;
}

/**
 * @param {number} x
 * @param {number[] | undefined} range
 */
function inside(x, range) {
  return !range || (x >= Math.min(...range) && x <= Math.max(...range));
}
