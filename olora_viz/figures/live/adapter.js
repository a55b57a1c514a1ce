// Inside an adapter: W, and of each lane B, A and what it has learned, ΔW, as small heat maps.
//
//   mount(element).show(value)
//
// The numbers come as texts, see measures/factors.py; ΔW is multiplied here.

import { watchTheme } from "./chart/theme.js";
import { append } from "./element.js";

/** @typedef {{ text: string, scale: number, rows: number, columns: number }} Picture */
/** @typedef {{ rows: number, columns: number, values: Float32Array }} Matrix */
/**
 * @typedef {object} LaneInside
 * @property {string} mark HTML of the lane's mark
 * @property {string} label
 * @property {string} init
 * @property {string} summary what its start is, in a sentence
 * @property {string} short in some words
 * @property {number} scaling s of s BA
 * @property {Picture} A0 at the start
 * @property {Picture} B0
 * @property {Picture | null} A what has become of it since then
 * @property {Picture | null} B
 * @property {number[]} sigma the singular values of ΔW
 */
/**
 * @typedef {object} Inside
 * @property {string} name of the layer
 * @property {number} step
 * @property {[number, number]} shape (out, in) of W
 * @property {Picture} W
 * @property {LaneInside[]} lanes
 */

const LEVELS = 31;
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+";
const LEVEL = new Map([...ALPHABET].map((letter, at) => [letter, at - LEVELS]));
const LEARNED = "learned: ΔW";
const OF_W = "W";

const CONTRAST = 0.7; // small numbers are seen as well

/** @param {Picture} picture @returns {Matrix} */
export function decoded({ text, scale, rows, columns }) {
  const values = new Float32Array(rows * columns);
  for (let i = 0; i < values.length; i++) values[i] = ((LEVEL.get(text[i]) ?? 0) * scale) / LEVELS;
  return { rows, columns, values };
}

/** @param {Matrix} a @param {Matrix} b @returns {Matrix} */
export function sum(a, b) {
  return { ...a, values: a.values.map((value, i) => value + b.values[i]) };
}

/**
 * Add s times the product of B (m, r) and A (r, n) to a matrix (m, n), or of one direction alone.
 *
 * @param {Matrix} to
 * @param {Matrix} B
 * @param {Matrix} A
 * @param {number} s
 * @param {number} [only]
 */
export function addProduct(to, B, A, s, only) {
  const [first, last] = only === undefined ? [0, A.rows] : [only, only + 1];
  for (let i = 0; i < B.rows; i++) {
    for (let k = first; k < last; k++) {
      const b = s * B.values[i * B.columns + k];
      if (!b) continue;
      for (let j = 0; j < A.columns; j++)
        to.values[i * A.columns + j] += b * A.values[k * A.columns + j];
    }
  }
}

/**
 * Return A and B now, and ΔW = s (B A − B⁰ A⁰): B⁰ and what has become of A, and what has become of
 * B and A. A difference of two large products of rounded numbers would be lost in the rounding.
 *
 * @param {LaneInside} lane
 * @param {number} [only] one direction, 0 for the first
 */
export function learned(lane, only) {
  const [A0, B0] = [decoded(lane.A0), decoded(lane.B0)];
  const moved = { A: lane.A && decoded(lane.A), B: lane.B && decoded(lane.B) };
  const A = moved.A ? sum(A0, moved.A) : A0;
  const B = moved.B ? sum(B0, moved.B) : B0;
  const delta = {
    rows: B.rows,
    columns: A.columns,
    values: new Float32Array(B.rows * A.columns),
  };
  if (moved.A) addProduct(delta, B0, moved.A, lane.scaling, only);
  if (moved.B) addProduct(delta, moved.B, A, lane.scaling, only);
  return { A, B, delta };
}

/** @param {Matrix} matrix */
export function largest({ values }) {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}

/** @param {string} colour of CSS */
const channels = (colour) => (colour.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);

/**
 * Draw a matrix: the highest value of the scale in one colour, its negative in the other.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Matrix} matrix
 * @param {number} most the value at which a colour is full
 */
function draw(canvas, { rows, columns, values }, most) {
  canvas.width = columns;
  canvas.height = rows;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(columns, rows);
  const style = getComputedStyle(canvas);
  const [zero, low, high] = [style.backgroundColor, style.color, style.borderTopColor].map(
    channels,
  );
  for (let i = 0; i < values.length; i++) {
    const share = most ? Math.min(1, Math.abs(values[i]) / most) ** CONTRAST : 0;
    const full = values[i] > 0 ? high : low;
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = zero[c] + (full[c] - zero[c]) * share;
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** @param {Element} parent @param {string} kind */
function heatMap(parent, kind) {
  return append(append(parent, "span", `picture of-${kind}`), "canvas");
}

/** @param {HTMLCanvasElement} canvas @param {{ x?: number, y?: number } | null} at a column or a row, as a share */
function light(canvas, at) {
  const over = /** @type {HTMLElement} */ (canvas.parentElement);
  over.classList.toggle("lit-column", at?.x !== undefined);
  over.classList.toggle("lit-row", at?.y !== undefined);
  over.style.setProperty("--at", `${100 * (at?.x ?? at?.y ?? 0)}%`);
  over.style.setProperty("--one", `${100 / (at?.x !== undefined ? canvas.width : canvas.height)}%`);
}

/**
 * Put the figure into an element.
 *
 * @param {Element} element
 */
export function mount(element) {
  element.classList.add("inside");
  /** @type {Inside | null} */
  let shown = null;
  const redraw = () => {
    if (shown) show(shown);
  };
  const destroy = watchTheme(redraw);

  /** @param {Inside} value */
  function show(value) {
    shown = value;
    const left = element.scrollLeft;
    element.replaceChildren();
    const W = decoded(value.W);
    const weight = append(element, "figure", "weight");
    const ofW = heatMap(weight, "w");
    const about = append(weight, "small");
    about.textContent = OF_W;
    weight.setAttribute("aria-label", `The weight W of ${value.name}, ${value.shape.join(" × ")}`);
    weight.setAttribute("role", "img");
    draw(ofW, W, largest(W));
    const lanes = value.lanes.map((lane) => ({ lane, ...learned(lane) }));
    const most = {
      A: Math.max(...lanes.map(({ A }) => largest(A))),
      B: Math.max(...lanes.map(({ B }) => largest(B))),
      delta: Math.max(...lanes.map(({ delta }) => largest(delta))),
      sigma: Math.max(...lanes.map(({ lane }) => lane.sigma[0] ?? 0)),
    };
    for (const { lane, A, B, delta } of lanes) {
      const figure = append(element, "figure", "adapter");
      const head = append(figure, "figcaption");
      head.innerHTML = lane.mark;
      append(head, "b").textContent = lane.label;
      append(head, "i").textContent = lane.short;
      append(head, "span").textContent = lane.summary;
      const product = append(figure, "div", "product");
      const corner = append(product, "small", "corner");
      append(corner, "span").textContent = "A →";
      append(corner, "span").textContent = "B ↓";
      const [ofA, ofB, ofDelta] = ["a", "b", "delta"].map((kind) => heatMap(product, kind));
      draw(ofA, A, most.A);
      draw(ofB, B, most.B);
      draw(ofDelta, delta, most.delta);
      const words = append(product, "small", "below");
      words.textContent = LEARNED;
      append(product, "small", "of-sigma").textContent = "σ";
      const bars = append(product, "span", "sigma");
      bars.title = `Singular values of ΔW: ${lane.sigma.join(", ") || "none yet"}`;
      for (const sigma of lane.sigma) {
        append(bars, "i").style.height = `${most.sigma ? (100 * sigma) / most.sigma : 0}%`;
      }
      figure.setAttribute("role", "img");
      figure.setAttribute("aria-label", inWords(value, lane, A, B, delta));

      /** @param {number | null} direction */
      const point = (direction) => {
        light(ofA, direction === null ? null : { y: direction / A.rows });
        light(ofB, direction === null ? null : { x: direction / A.rows });
        const part = direction === null ? delta : learned(lane, direction).delta;
        draw(ofDelta, part, direction === null ? most.delta : largest(part));
        const rank = largest(decoded(lane.B0)) ? "rank 2 at most" : "rank 1"; // less its part of B⁰ A⁰
        words.textContent =
          direction === null ? LEARNED : `part ${direction + 1} of ${A.rows}: ${rank}`;
      };
      // A finger does not move before it presses.
      for (const kind of /** @type {const} */ (["pointermove", "pointerdown"])) {
        ofA.addEventListener(kind, (event) => point(place(event.offsetY, ofA, A.rows)));
        ofB.addEventListener(kind, (event) => point(place(event.offsetX, ofB, A.rows, true)));
      }
      ofDelta.addEventListener("pointermove", (event) => {
        const row = place(event.offsetY, ofDelta, B.rows);
        const column = place(event.offsetX, ofDelta, A.columns, true);
        light(ofB, { y: row / B.rows });
        light(ofA, { x: column / A.columns });
        words.textContent = `row ${row + 1} of B × column ${column + 1} of A`;
      });
      for (const canvas of [ofA, ofB, ofDelta])
        canvas.addEventListener("pointerleave", () => point(null));
      if (lane.init === "olora") {
        const taken = `OLoRA's B spans W's first ${A.rows} columns`;
        ofW.addEventListener("pointermove", (event) => {
          const column = place(event.offsetX, ofW, value.shape[1], true);
          const isTaken = column < A.rows;
          light(ofW, { x: column / value.shape[1] });
          light(ofB, isTaken ? { x: column / A.rows } : null);
          about.textContent = isTaken ? taken : `column ${column + 1} of W`;
        });
        ofW.addEventListener("pointerleave", () => {
          light(ofW, null);
          light(ofB, null);
          about.textContent = OF_W;
        });
      }
    }
    element.scrollLeft = left;
    const scrolls = element.scrollWidth > element.clientWidth; // then a keyboard has to reach it
    if (scrolls) element.setAttribute("tabindex", "0");
    else element.removeAttribute("tabindex");
  }
  return { show, destroy };
}

/** @param {number} offset @param {HTMLCanvasElement} canvas @param {number} count @param {boolean} [across] */
function place(offset, canvas, count, across = false) {
  const side = across ? canvas.clientWidth : canvas.clientHeight;
  return Math.max(0, Math.min(count - 1, Math.floor((offset / side) * count)));
}

/**
 * Say what is drawn of a lane.
 *
 * @param {Inside} value
 * @param {LaneInside} lane
 * @param {Matrix} A
 * @param {Matrix} B
 * @param {Matrix} delta
 */
export function inWords(value, lane, A, B, delta) {
  const norm = Math.hypot(...lane.sigma).toPrecision(2);
  const at = value.step ? `after step ${value.step}` : "before the first step";
  if (!largest(delta)) return `${lane.label}, ${at}: rank ${A.rows}, nothing has moved yet.`;
  const rows = Array.from({ length: delta.rows }, (_, i) =>
    Math.hypot(...delta.values.subarray(i * delta.columns, (i + 1) * delta.columns)),
  );
  const first = rows
    .map((size, row) => ({ size, row }))
    .sort((a, b) => b.size - a.size)
    .slice(0, 3)
    .map(({ row }) => row + 1);
  const zero = largest(B) ? "" : " B is zero.";
  return `${lane.label}, ${at}: rank ${A.rows}, ΔW has norm ${norm}, its largest rows are ${first.join(", ")}.${zero}`;
}
