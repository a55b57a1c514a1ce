// Unpacks a figure that olora_viz/figures/live/bundle.py packed.

/** @import { Numbers, Packed, TextTrace, Trace, Value } from "../types.d.ts" */

/**
 * Undo `pack` of bundle.py, except for the points, which stay text.
 *
 * @param {Packed} packed
 * @returns {Value}
 */
export function unpack({ data, layout }) {
  const parts = Object.entries(layout).map(([key, part]) => [key, JSON.parse(part)]);
  return {
    data: data.map(({ trace, ...points }) => ({ ...JSON.parse(trace), ...points })),
    layout: Object.fromEntries(parts),
  };
}

/**
 * Give a trace arrays of numbers, always new ones: Plotly redraws what has changed identity.
 *
 * @param {TextTrace} trace a copy, which is changed
 * @param {number} index its place in the figure
 * @param {ReturnType<typeof decoder>} decode
 * @returns {Trace}
 */
export function points(trace, index, decode) {
  for (const key of /** @type {const} */ (["x", "y"])) {
    const text = trace[key];
    if (typeof text === "string") trace[key] = decode(`${index}${key}`, text);
  }
  const drawn = /** @type {Trace} */ (trace);
  const { x0, dx = 1 } = drawn;
  if (!drawn.x && x0 !== undefined) {
    drawn.x = drawn.y?.map((_, i) => x0 + i * dx);
    delete drawn.x0;
    delete drawn.dx;
  }
  return drawn;
}

/**
 * Return a function that parses "1.5,2,,3"; if a text has grown, it parses only the new part.
 *
 * @returns {(key: string, text: string) => Numbers}
 */
export function decoder() {
  /** @type {Map<string, { text: string, numbers: Numbers }>} */
  const known = new Map();
  return (key, text) => {
    const old = known.get(key);
    let numbers;
    if (old?.text && text === old.text) numbers = [...old.numbers];
    else if (old?.text && text.startsWith(`${old.text},`)) {
      numbers = [...old.numbers, ...read(text.slice(old.text.length + 1))];
    } else numbers = text === "" ? [] : read(text);
    known.set(key, { text, numbers });
    return numbers;
  };
}

/**
 * @param {string} text
 * @returns {Numbers}
 */
function read(text) {
  return text.split(",").map((t) => (t === "" ? null : +t));
}
