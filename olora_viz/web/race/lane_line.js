// The lanes in a line: a chip for each start, and one slider each for the rate and the rank of all.
//
//   mount(element, { rows, starts, meanings, changed })

/** @import { Row } from "../../figures/live/lane_table.js" */

const RATES = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1];
const RANKS = [1, 2, 4, 8, 16, 32, 64];

/** The two sliders: their words, the key of a lane, and its values from left to right. */
const SLIDERS = /** @type {[string, string, number[]][]} */ ([
  ["rate", "lr", RATES],
  ["rank", "r", RANKS],
]);

/**
 * Return the lanes with one value for all; lanes that are equal then are one.
 *
 * @param {Row[]} rows
 * @param {string} key
 * @param {string} value
 * @returns {Row[]}
 */
export function withValue(rows, key, value) {
  const changed = rows.map((row) => ({ ...row, [key]: value }));
  return [
    ...new Map(changed.map((row) => [JSON.stringify(Object.entries(row).sort()), row])).values(),
  ];
}

/**
 * Return the lanes with another start, in all that the first start of them has.
 *
 * @param {Row[]} rows
 * @param {string} init
 * @returns {Row[]}
 */
export function withStart(rows, init) {
  const like = rows.filter((row) => row.init === rows[0].init);
  return [...rows, ...like.map((row) => ({ ...row, init }))];
}

/** The values that lanes have, each once, in words. @param {Row[]} rows @param {string} key */
export function valuesOf(rows, key) {
  const values = [...new Set(rows.map((row) => String(row[key])))];
  return values.length > 3 ? `${values.length} values` : values.join(", ");
}

/** The place of the nearest value by ratio. @param {number[]} values @param {number} value */
export function placeOf(values, value) {
  const away = values.map((each) => Math.abs(Math.log(each / value)));
  return Number.isFinite(away[0]) ? away.indexOf(Math.min(...away)) : Math.floor(values.length / 2);
}

/** A value as the table of lanes has it. @param {number} value */
export function written(value) {
  return value >= 1 ? String(value) : value.toExponential(0);
}

/**
 * Put the line into an element.
 *
 * @param {Element} element
 * @param {object} options
 * @param {Row[]} options.rows
 * @param {Record<string, string>} options.starts label of every initialization
 * @param {Record<string, string>} options.meanings one line on each of them
 * @param {(rows: Row[]) => void} options.changed called after every edit
 */
export function mount(element, { rows, starts, meanings, changed }) {
  let lanes = rows;
  const chips = node("span", { className: "chips" });
  const sliders = SLIDERS.map(slider);
  element.replaceChildren(chips, ...sliders.map(({ label }) => label));
  build();
  return { replace };

  /** @param {Row[]} others */
  function replace(others) {
    lanes = others;
    build();
  }

  /** @param {Row[]} others */
  function edit(others) {
    replace(others);
    changed(others.map((row) => ({ ...row })));
  }

  function build() {
    const inits = [...new Set(lanes.map((row) => row.init))];
    const others = Object.entries(starts).filter(([name]) => !inits.includes(name));
    const add = node("select", {
      className: "add",
      ariaLabel: "add a start",
      title: "Add a start",
    });
    add.append(new Option("+", ""), ...others.map(([name, label]) => new Option(label, name)));
    add.addEventListener("change", () => edit(withStart(lanes, add.value)));
    chips.replaceChildren(...inits.map((init) => chip(init, inits.length > 1)), add);
    for (const { show } of sliders) show();
  }

  /** @param {string} init @param {boolean} removable */
  function chip(init, removable) {
    const label = starts[init] ?? init;
    const whole = node("span", { className: "chip", title: meanings[init] ?? "" });
    const mark = node("span", { className: "mark solid" });
    mark.style.setProperty("--lane", `var(--${init})`);
    whole.append(mark, label);
    if (removable) {
      const remove = node("button", {
        type: "button",
        textContent: "×",
        ariaLabel: `remove ${label}`,
      });
      remove.addEventListener("click", () => edit(lanes.filter((row) => row.init !== init)));
      whole.append(remove);
    }
    return whole;
  }

  /** @param {[string, string, number[]]} of */
  function slider([words, key, values]) {
    const label = node("label", { className: "of-all" });
    const input = node("input", { type: "range", min: "0", max: `${values.length - 1}` });
    const value = node("b");
    label.append(words, input, value);
    input.addEventListener("input", () => (value.textContent = written(values[+input.value])));
    input.addEventListener("change", () =>
      edit(withValue(lanes, key, written(values[+input.value]))),
    );
    const show = () => {
      input.value = `${placeOf(values, Number(lanes[0]?.[key]))}`;
      value.textContent = valuesOf(lanes, key);
      input.setAttribute("aria-valuetext", value.textContent);
    };
    return { label, show };
  }
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {object} [properties]
 */
function node(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}
