// Two columns of W that the reader drags, by mouse, touch or arrow keys, and OLoRA's start that follows them.

/** @import { Vector } from "./qr.js" */

import { between, qr } from "./qr.js";
import { set, shape, short } from "./svg.js";

const REACH = 6; // of the plane, to each side
const STEP = 0.5; // of an arrow key; with Shift a fifth of it
const GRAIN = 10; // places per unit

/** @type {Record<string, Vector>} */
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** @param {number[][]} rows */
const matrix = (rows) => {
  const cells = rows.map(
    (row) => `<mtr>${row.map((x) => `<mtd>${number(x)}</mtd>`).join("")}</mtr>`,
  );
  return `<mrow><mo>(</mo><mtable>${cells.join("")}</mtable><mo>)</mo></mrow>`;
};

/** @param {number} value */
const number = (value) => `<mn>${short(value)}</mn>`;

/** @param {Vector} vector */
const words = (vector) => `(${vector.map((x) => short(x)).join(", ")})`;

/** @param {number} value */
const placed = (value) => Math.round(Math.min(Math.max(value, -REACH), REACH) * GRAIN) / GRAIN + 0;

/**
 * Fill a place.
 *
 * @param {HTMLElement} place
 * @param {{ columns: Vector[] }} given the columns of W at first
 */
export function plane(place, { columns }) {
  place.innerHTML = `<section class="plane">
    <h2>Two columns, by hand <span class="hint">drag their tips, or use the arrow keys</span></h2>
    <math display="block"></math>
    <svg viewBox="${-REACH - 0.6} ${-REACH - 0.6} ${2 * REACH + 1.2} ${2 * REACH + 1.2}" role="group"
      aria-label="The columns of W and of Q in the plane"></svg>
    <div class="numbers"><p class="start"></p><p class="elsewhere" role="status"></p>
    <button type="button" data-flip>Flip the columns</button></div></section>`;
  const part = (/** @type {string} */ one) => /** @type {HTMLElement} */ (place.querySelector(one));
  const svg = /** @type {SVGSVGElement} */ (place.querySelector("svg"));
  const tips = columns.map((column) => /** @type {Vector} */ ([...column]));
  let first = 0; // the tip that is the first column
  let flipped = false;

  for (let at = -REACH; at <= REACH; at += 1) {
    const kind = at ? "grid" : "axis";
    shape(svg, "line", { class: kind, x1: at, x2: at, y1: -REACH, y2: REACH });
    shape(svg, "line", { class: kind, y1: at, y2: at, x1: -REACH, x2: REACH });
  }
  const span = shape(svg, "line", { class: "span" });
  const rest = shape(svg, "line", { class: "rest" });
  const arrows = tips.map(() => shape(svg, "line", { class: "column" }));
  const before = shape(svg, "line", { class: "before" });
  const [q1, q2] = ["q1", "q2"].map((name) => ({
    line: shape(svg, "line", { class: name }),
    name: shape(svg, "text", { class: name }),
  }));
  const handles = tips.map((_, i) => {
    const handle = shape(svg, "g", { class: "tip", tabindex: 0, role: "slider" });
    shape(handle, "circle", { r: 0.75, class: "reach" });
    shape(handle, "circle", { r: 0.26 });
    shape(handle, "text", { x: 0.42, y: -0.34 });
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      handle.focus({ preventScroll: true });
      event.preventDefault();
    });
    handle.addEventListener("pointermove", (event) => {
      const here = svg.getScreenCTM()?.inverse();
      if (!here || !handle.hasPointerCapture(event.pointerId)) return;
      const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(here);
      move(i, [x, -y]);
    });
    handle.addEventListener("keydown", (event) => {
      const by = KEYS[event.key];
      if (!by) return;
      event.preventDefault();
      const step = event.shiftKey ? STEP / 5 : STEP;
      move(i, [tips[i][0] + by[0] * step, tips[i][1] + by[1] * step]);
    });
    return handle;
  });

  /** @param {number} i @param {Vector} to */
  const move = (i, to) => {
    tips[i] = [placed(to[0]), placed(to[1])];
    draw();
  };

  /** @param {Element} node @param {Vector} to @param {Vector} [from] */
  const line = (node, to, from = [0, 0]) =>
    set(node, { x1: from[0], y1: -from[1], x2: to[0], y2: -to[1] });

  /** @param {typeof q1} drawn @param {Vector} q @param {string} name */
  const unit = (drawn, q, name) => {
    line(drawn.line, q);
    set(drawn.name, { x: 0.6 * q[0] + 0.55 * q[1] - 0.3, y: -0.6 * q[1] + 0.55 * q[0] + 0.2 });
    drawn.name.textContent = name;
  };

  const draw = () => {
    const [w1, w2] = [tips[first], tips[1 - first]];
    const { q1: one, q2: two, r11, r12, r22 } = qr(w1, w2);
    unit(q1, one, "q₁");
    unit(q2, two, "q₂");
    const far = /** @type {Vector} */ ([2 * REACH * one[0], 2 * REACH * one[1]]);
    line(span, far, [-far[0], -far[1]]);
    line(rest, w2, [r12 * one[0], r12 * one[1]]);
    tips.forEach((tip, i) => {
      const name = i === first ? "w₁" : "w₂";
      line(arrows[i], tip);
      set(handles[i], {
        transform: `translate(${tip[0]} ${-tip[1]})`,
        "aria-label": `${name}, by arrow keys`,
        "aria-valuetext": words(tip),
        "aria-valuenow": tip[0],
      });
      const label = handles[i].querySelector("text");
      if (label) label.textContent = name;
    });
    part("math").innerHTML =
      `<mi>W</mi><mo>=</mo>${matrix([0, 1].map((i) => [w1[i], w2[i]]))}<mo>=</mo>` +
      `<mi>Q</mi><mi>R</mi><mo>=</mo>${matrix([0, 1].map((i) => [one[i], two[i]]))}` +
      matrix([
        [r11, r12],
        [0, r22],
      ]);
    part(".start").textContent =
      `At rank 1 OLoRA starts from q₁ = ${words(one)}, and from (${short(r11)}, ${short(r12)}), the first row of ` +
      `R. It keeps w₁ whole; of w₂ it leaves a rest of length ${short(r22)}.`;
    const other = qr(w2, w1).q1;
    line(before, flipped ? other : [0, 0]);
    part(".elsewhere").textContent = flipped
      ? `Flipped: the same columns, but OLoRA starts elsewhere. In the order of before, its q₁ is ${words(other)}, ` +
        `${short(between(one, other), 0)}° away.`
      : "";
  };

  part("[data-flip]").addEventListener("click", () => {
    first = 1 - first;
    flipped = !flipped;
    draw();
  });
  draw();
}
