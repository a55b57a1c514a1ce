// The table of lanes: one row per lane, edited in place.
//
//   mount(element, { rows, blank, starts, meanings, most, seen, changed })

import { sweep } from "./sweep.js";

/** @typedef {Record<string, any>} Row init, r, alpha, lr, seed: as they are typed; rest: other keys, as in a SPEC */
/** @typedef {{ init: string, dash: string, wrong?: string }} Mark and what is wrong with its row */

const FIELDS = [
  ["r", "r", "rank", "numeric"],
  ["alpha", "α", "alpha", "text"],
  ["lr", "rate", "learning rate", "text"],
  ["seed", "seeds", "seeds, such as 0-2", "text"],
];

/**
 * Put the table into an element.
 *
 * @param {Element} element
 * @param {object} options
 * @param {Row[]} options.rows
 * @param {Row} options.blank a lane with the default values
 * @param {Record<string, string>} options.starts label of every initialization
 * @param {Record<string, string>} options.meanings one line on each of them
 * @param {number} options.most rows
 * @param {(rows: Row[]) => Promise<Mark[]>} options.seen returns a mark for every row
 * @param {(rows: Row[]) => void} options.changed called after every edit
 * @param {Record<string, string>} [options.terms] the glossary's terms behind the heads of columns,
 *   where there is a glossary
 */
export function mount(element, { rows, blank, starts, meanings, most, seen, changed, terms = {} }) {
  let lanes = rows.map((row) => ({ ...row }));
  let asked = 0;
  let more = false; // whether every row has a field for its other keys

  const table = node("table", { className: "lanes" });
  for (const name of ["mark-column", "", "short", "short", "rate", "short", "remove-column"]) {
    table.append(node("col", { className: name }));
  }
  const head = table.createTHead().insertRow();
  head.append(header("", "lane"), header("start", "how the adapter starts", terms.start));
  for (const [, title, words] of FIELDS) head.append(header(title, words, terms[title]));
  head.append(header("", "remove"));
  const body = table.createTBody();
  const problem = node("p", { className: "problem", hidden: true });
  problem.setAttribute("role", "alert");
  const add = node("button", {
    type: "button",
    className: "quiet",
    textContent: "+ lane",
    title: "Add a lane with another start, and the rank and seeds of the last one",
  });
  add.addEventListener("click", () => {
    const used = lanes.map((lane) => lane.init);
    const init = Object.keys(starts).find((name) => !used.includes(name)) ?? blank.init;
    lanes.push({ ...blank, ...like(lanes.at(-1)), init });
    build();
    tell();
    field(lanes.length - 1, "select").focus();
  });
  const columns = node("button", {
    type: "button",
    className: "quiet",
    textContent: "More columns",
    title: "All other keys of a lane, as on the command line, such as opt=sgd or dropout=0.1",
    ariaExpanded: "false",
  });
  columns.addEventListener("click", () => {
    more = !more;
    columns.ariaExpanded = String(more);
    build();
    look();
    if (more) field(0, ".keys").focus();
  });
  const frame = node("div", { className: "lanes-frame" });
  frame.append(table);
  const foot = node("div", { className: "lanes-foot" });
  const { fold, count } = sweep({
    lanes: () => lanes,
    most,
    fill: (rows) => {
      replace(rows);
      tell();
    },
  });
  foot.append(add, columns, fold);
  element.replaceChildren(frame, problem, foot);
  build();
  look();
  return { replace };

  /**
   * Replace the rows, for instance with those of a race from another page.
   *
   * @param {Row[]} others
   */
  function replace(others) {
    lanes = others.map((row) => ({ ...row }));
    build();
    look();
  }

  /** @param {number} i @param {string} selector */
  function field(i, selector) {
    return /** @type {HTMLInputElement} */ (body.rows[i].querySelector(selector));
  }

  function build() {
    body.replaceChildren(...lanes.map(line));
    add.disabled = lanes.length >= most;
    count();
  }

  /** @param {Row} lane @param {number} i */
  function line(lane, i) {
    const row = node("tr");
    const select = node("select", { ariaLabel: `start of lane ${i + 1}` });
    for (const [name, label] of Object.entries(starts)) {
      const option = new Option(label, name, false, name === lane.init);
      option.title = meanings[name];
      select.append(option);
    }
    select.title = meanings[lane.init] ?? "";
    select.addEventListener("change", () => {
      select.title = meanings[select.value] ?? "";
      edit(i, "init", select.value);
    });
    const start = cell(select);
    if (more) {
      const keys = node("input", {
        className: "keys",
        value: lane.rest ?? "",
        placeholder: "opt=sgd, dropout=0.1",
        autocomplete: "off",
        spellcheck: false,
        ariaLabel: `other keys, lane ${i + 1}`,
      });
      keys.addEventListener("input", () => edit(i, "rest", keys.value.trim()));
      start.append(keys);
    } else if (lane.rest)
      start.append(node("small", { className: "rest", textContent: name(lane), title: lane.rest }));
    row.append(cell(node("span", { className: "mark" })), start);
    for (const [key, , words, mode] of FIELDS) {
      const input = node("input", {
        value: lane[key] ?? "",
        inputMode: mode,
        autocomplete: "off",
        spellcheck: false,
        ariaLabel: `${words}, lane ${i + 1}`,
        className: key,
      });
      if (key === "alpha") {
        const placeholder = isList(lane.r) ? "r" : lane.r;
        Object.assign(input, { placeholder, title: "a number, or such as 2r; empty: the rank" });
      }
      const its = cell(input);
      list(its, lane[key]);
      input.addEventListener("input", () => {
        list(its, input.value);
        edit(i, key, input.value.trim());
      });
      input.addEventListener("change", () => spread(i, key));
      input.addEventListener("focus", () => input.select());
      row.append(its);
    }
    const remove = node("button", {
      type: "button",
      className: "remove",
      textContent: "×",
      title: "remove",
      ariaLabel: `remove lane ${i + 1}`,
      disabled: lanes.length === 1,
    });
    remove.addEventListener("click", () => {
      lanes.splice(i, 1);
      build();
      tell();
      field(Math.min(i, lanes.length - 1), ".remove").focus();
    });
    row.append(cell(remove));
    return row;
  }

  /** @param {number} i @param {string} key @param {string} value */
  function edit(i, key, value) {
    lanes[i] = {
      ...lanes[i],
      [key]: value,
      ...(["seed", "rest"].includes(key) ? {} : unnamed(lanes[i])),
    };
    const small = body.rows[i].querySelector(".rest");
    if (small) small.textContent = name(lanes[i]);
    if (key === "r") field(i, ".alpha").placeholder = value;
    tell();
  }

  /**
   * Make a row for each value of a list such as 1e-3/3e-3, once it is typed. Seeds stay in one
   * row, which is one curve, and so does what is no list of values, with its error.
   *
   * @param {number} i @param {string} key
   */
  function spread(i, key) {
    const values = String(lanes[i][key])
      .split("/")
      .map((value) => value.trim());
    if (key === "seed" || values.length < 2 || lanes.length + values.length - 1 > most) return;
    if (!values.every(isValue)) return;
    lanes.splice(i, 1, ...values.map((value) => ({ ...lanes[i], [key]: value })));
    build();
    tell();
    setTimeout(() => field(i, `.${key}`).focus());
  }

  function tell() {
    changed(lanes.map((lane) => ({ ...lane })));
    look();
  }

  // Request the marks and errors of the lanes; an outdated answer is dropped.
  async function look() {
    const turn = ++asked;
    await new Promise((resolve) => setTimeout(resolve, 60));
    if (turn !== asked) return;
    const found = await seen(lanes);
    if (turn !== asked) return;
    found.forEach(({ init, dash, wrong }, i) => {
      const row = body.rows[i];
      const mark = field(i, ".mark");
      mark.className = `mark ${dash}`;
      mark.style.setProperty("--lane", `var(--${init})`);
      row.classList.toggle("wrong", Boolean(wrong));
      for (const input of row.querySelectorAll("input")) {
        const isWrong = new RegExp(`^(a )?${WORDS[input.className]} `).test(wrong ?? "");
        if (isWrong) input.setAttribute("aria-invalid", "true");
        else input.removeAttribute("aria-invalid");
      }
    });
    const first = found.findIndex(({ wrong }) => wrong);
    problem.hidden = first < 0;
    problem.textContent = first < 0 ? "" : `Lane ${first + 1}: ${found[first].wrong}.`;
  }
}

/** What the sentence on a refused value calls its field. @type {Record<string, string>} */
const WORDS = { lr: "learning rate", r: "rank", alpha: "alpha", seed: "seed" };

/** Whether a text is a positive number, or the word for the rate that is computed. @param {string} text */
function isValue(text) {
  return text === "fair" || (/^[\d.]+(e[-+]?\d+)?$/i.test(text) && Number(text) > 0);
}

/** What a lane is called, or else its keys that have no column. @param {Row} lane */
function name(lane) {
  const keys = String(lane.rest ?? "").split(",");
  const label = keys.find((key) => key.startsWith("label="));
  return label ? label.slice("label=".length) : keys.join(", ");
}

/** The other keys of a lane that is changed: its name is that of what it was. @param {Row} lane */
function unnamed({ rest }) {
  if (!rest) return {};
  const keys = String(rest).split(",");
  return { rest: keys.filter((key) => !key.startsWith("label=")).join(",") };
}

/**
 * What a new lane has in common with the last one.
 *
 * @param {Row | undefined} lane
 */
function like(lane) {
  return lane ? { r: lane.r, seed: lane.seed } : {};
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {object} [properties]
 */
function node(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}

/** Whether a cell has a list such as 4/8/16. @param {any} cell */
function isList(cell) {
  return String(cell ?? "").includes("/");
}

/** Lets a cell with a list show it below its field, in lines that break after a slash. @param {HTMLElement} cell @param {any} value */
function list(cell, value) {
  if (isList(value)) cell.dataset.list = value.replaceAll("/", "/\u200b");
  else delete cell.dataset.list;
}

/** @param {Node} child */
function cell(child) {
  const td = node("td");
  td.append(child);
  return td;
}

/** @param {string} text @param {string} title @param {string} [term] */
function header(text, title, term) {
  if (!text) return node("td", { title }); // what heads no words is no header
  const cell = node("th", { scope: "col", textContent: text, title });
  if (term) {
    const button = node("button", { type: "button", className: "term", textContent: text, title });
    button.dataset.term = term;
    cell.replaceChildren(button);
  }
  return cell;
}
