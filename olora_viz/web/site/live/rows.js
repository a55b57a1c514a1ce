// Rows of the reader's own as a task: read from text, split, and laid out as tokens, all in the page.

import { generator } from "./random.js";

/** @typedef {import("./types").Task} Task */
/** @typedef {import("./types").Model} Model */

const LEAST = 20;
const MOST = 2000;
const LONGEST = 48; // tokens of a row
const HELD_OUT = 64;
const FORM =
  "a prompt and an answer: two columns of a CSV, or JSON with the fields prompt and answer";

/** Read rows from CSV or JSON; an Error is a sentence. @param {string} text @returns {[string, string][]} */
export function rowsOf(text) {
  const trimmed = text.trim();
  const cells = /^[[{]/.test(trimmed) ? fromJson(trimmed) : fromCsv(trimmed);
  const rows = cells.map(([prompt, answer], i) => {
    if (!prompt?.trim()) throw Error(`Row ${i + 1} has no prompt; a row is ${FORM}.`);
    if (!answer?.trim()) throw Error(`Row ${i + 1} has no answer; a row is ${FORM}.`);
    const ended = /[\n\t]$/.test(prompt);
    return /** @type {[string, string]} */ ([
      ended ? prompt : prompt.trimEnd(),
      (ended ? "" : " ") + answer.trim(),
    ]);
  });
  const distinct = [...new Map(rows.map((row) => [row.join("\0"), row])).values()];
  if (distinct.length < LEAST || distinct.length > MOST)
    throw Error(`A race here takes ${LEAST} to ${MOST} different rows, not ${distinct.length}.`);
  return distinct;
}

/** @param {string} text @returns {(string | undefined)[][]} */
function fromJson(text) {
  /** @type {any[]} */
  let rows;
  try {
    rows = text.startsWith("[")
      ? JSON.parse(text)
      : text.split(/\n+/).map((line) => JSON.parse(line));
  } catch (error) {
    throw Error(`These rows are no JSON: ${/** @type {Error} */ (error).message}.`);
  }
  return rows.map((row) =>
    [row?.prompt, row?.answer ?? row?.completion].map((cell) =>
      cell === undefined || cell === null ? undefined : String(cell),
    ),
  );
}

/** @param {string} text */
function fromCsv(text) {
  const rows = [[""]];
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const [sign, row] = [text[i], rows[rows.length - 1]];
    if (sign === '"' && quoted && text[i + 1] === '"') row[row.length - 1] += text[i++];
    else if (sign === '"' && (quoted || !row[row.length - 1])) quoted = !quoted;
    else if (!quoted && (sign === "," || sign === "\t")) row.push("");
    else if (!quoted && sign === "\n") rows.push([""]);
    else if (sign !== "\r") row[row.length - 1] += sign;
  }
  const filled = rows.filter((row) => row.some((cell) => cell.trim()));
  const head = filled[0]?.map((cell) => cell.trim().toLowerCase()) ?? [];
  const [prompt, answer] = [
    head.indexOf("prompt"),
    head.findIndex((e) => /^(answer|completion)$/.test(e)),
  ];
  if (prompt >= 0 && answer >= 0) return filled.slice(1).map((row) => [row[prompt], row[answer]]);
  const wide = filled.find((row) => row.length !== 2);
  if (wide) throw Error(`A row is ${FORM}, not ${wide.length} columns without such names.`);
  return filled;
}

/**
 * Return rows as a task: a quarter of them held out, at most 64, whatever their order.
 *
 * @param {[string, string][]} rows
 * @param {{ example: (prompt: string, answer: string) => number[] }} tokenizer
 * @param {Pick<Model, "batchSize" | "mostSteps">} model
 * @param {number} seeds orders of batches
 * @returns {Task}
 */
export function taskOf(rows, tokenizer, { batchSize, mostSteps }, seeds) {
  const examples = rows.map(([prompt, answer]) => tokenizer.example(prompt, answer));
  const longest = examples.reduce((most, { length }) => Math.max(most, length - 1), 0);
  if (longest > LONGEST) {
    const i = examples.findIndex(({ length }) => length - 1 > LONGEST);
    const began = rows[i][0].slice(0, 30);
    throw Error(
      `A row here has at most ${LONGEST} tokens; “${began}…” has ${examples[i].length - 1}.`,
    );
  }
  const order = shuffled(
    [...examples].sort((a, b) => (a.join() < b.join() ? -1 : 1)),
    "split",
    0,
  );
  const count = Math.min(HELD_OUT, Math.floor(examples.length / 4));
  const [heldOut, train] = [order.slice(0, count), order.slice(count)];
  const orders = Array.from({ length: seeds }, (_, seed) => {
    const all = [];
    for (let epoch = 0; all.length < batchSize * mostSteps; epoch++)
      all.push(...shuffled([...train.keys()], `epoch ${epoch}`, seed));
    return all.slice(0, batchSize * mostSteps);
  });
  const answer = Math.max(...examples.map(([from, ...tokens]) => tokens.length - from));
  return {
    ...{ name: "own rows", summary: `${rows.length} rows of yours`, prompt: "", answer: "" },
    ...{ train, heldOut, orders, asked: [...heldOut.keys()].slice(0, 4) },
    width: 4 * Math.ceil((longest - 1) / 4),
    supervised: batchSize * answer,
  };
}

/** @template T @param {T[]} items @param {string} what @param {number} seed */
function shuffled(items, what, seed) {
  const random = generator(seed, what);
  const mixed = [...items];
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = random() % (i + 1);
    [mixed[i], mixed[j]] = [mixed[j], mixed[i]];
  }
  return mixed;
}
