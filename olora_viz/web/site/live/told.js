// What a race in the reader's browser tells, as frames of the page's slider: verdict, charts, answers, adapters.

/** @import { Examples, Heard, PicturedByLayer } from "./types.d.ts" */

import { mean } from "./statistics.js";
import { percent, verdict } from "./verdict.js";

/** @typedef {{ label: string, short: string, summary: string }} StartWords */
/** @typedef {{ data: Record<string, any>, layout: Record<string, string> }} Packed */
/** @typedef {{ at: number, texts: Record<string, string>, figures: Record<string, Packed>, inside: any }} Frame */
/** Lanes that differ only in their seed. @typedef {{ init: string, name: string, lanes: number[] }} Group */
/**
 * @typedef {object} SetUp of a race, in words
 * @property {Group[]} groups
 * @property {Record<string, StartWords>} starts
 * @property {Record<string, string>} layers words of those that are looked at
 * @property {number} steps
 * @property {number} every steps from one evaluation to the next
 * @property {number} examples held-out ones
 * @property {number | null} guess accuracy of the best guess; null if it is never right
 * @property {string} rate of all lanes; empty if they have several
 * @property {boolean} baseline whether the recorded chart's guess is that of the task
 * @property {{ prompt: string, right: number[] }[]} questions what the lanes answer, and the tokens of the right answer, none of an own prompt
 * @property {(tokens: number[]) => string} decode
 */

const ROUND = [-4, -3, -2, -1, 0, 1, 2, 3].flatMap((k) =>
  [1, 2, 5].map((n) => Number(`${n}e${k}`)),
);
/** Of a logarithmic axis, written out: a bare 5 might be 0.5. */
const TICKS = { tickmode: "array", tickvals: ROUND, ticktext: ROUND.map(String) };

/** @param {string} init */
const mark = (init) => `<span class="mark solid" style="--lane:var(--${init})"></span>`;
/** @param {string} text */
const plain = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** The values of a group's lanes that there are. @param {Group} group @param {(number | null)[]} values */
const of = ({ lanes }, values) =>
  lanes.map((k) => values[k]).filter((value) => typeof value === "number");

/** What is said before the first step. @param {number | null} accuracy */
const before = (accuracy) =>
  `<div class="verdict"><p role="status"><b>At the start every lane is the base model: ` +
  `${percent(accuracy ?? 0)} right.</b></p>` +
  `<p class="below">This page trains them, on your machine.</p></div>`;

/**
 * Say who is right how often, the best first.
 *
 * @param {Group[]} groups
 * @param {(number | null)[]} accuracy
 * @param {number} step
 */
export function soFar(groups, accuracy, step) {
  const ranked = groups
    .map((group) => ({ ...group, shares: of(group, accuracy) }))
    .map((each) => ({ ...each, share: each.shares.length ? mean(each.shares) : -1 }))
    .sort((a, b) => b.share - a.share);
  const [some, none] = [ranked.filter((e) => e.share >= 0), ranked.filter((e) => e.share < 0)];
  const scores = some.map(({ name, share, shares, lanes }) => {
    const lost = lanes.length - shares.length;
    return `${name} ${percent(share)}${lost ? ` (${lost} of ${lanes.length} seeds diverged)` : ""}`;
  });
  const said = [
    ...(scores.length ? [`${scores.join(", ")} right`] : []),
    ...(none.length ? [`${none.map(({ name }) => name).join(", ")} diverged`] : []),
  ].join("; ");
  const seeds = groups[0].lanes.length;
  let sure = seeds > 1 ? `Means of ${seeds} seeds.` : "One seed: the order could be luck.";
  if (!some.length) sure = "Try a lower rate.";
  return line(`Step ${step}: ${said}.`, "", sure);
}

/** @param {string} lead @param {string} tag @param {string} below */
const line = (lead, tag, below) =>
  `<div class="verdict"><p role="status"><b>${lead}</b></p>${tag}` +
  `<p class="below">${below} Trained by this page, on your machine.</p></div>`;

/** @param {import("./verdict.js").Verdict} found */
const ended = ({ headline, tag, certainty, below }) =>
  line(
    headline,
    ` <strong class="certainty ${certainty}" title="by 95% intervals that allow for the number of comparisons">${tag}</strong> `,
    below,
  );

/**
 * Return the curves of groups: means, with bands where there are several seeds.
 *
 * @param {Group[]} groups
 * @param {{ step: number, values: (number | null)[] }[]} points
 * @param {string} mode
 */
function curves(groups, points, mode) {
  /** @type {Record<string, any>} */
  const data = {};
  const ends = [];
  for (const group of groups) {
    const { init, name } = group;
    const known = points
      .map(({ step, values }) => ({ step, values: of(group, values) }))
      .filter(({ values }) => values.length);
    const x = known.map(({ step }) => step).join();
    const color = `@${init}`;
    const whole = { type: "scatter", mode: "lines", name, legendgroup: name };
    /** @param {string} key @param {(values: number[]) => number} value @param {object} trace */
    const add = (key, value, trace) => {
      const y = known.map(({ values }) => value(values)).join();
      data[`${init}${key}`] = { x, y, trace: JSON.stringify({ ...whole, ...trace }) };
    };
    if (group.lanes.length > 1) {
      const edge = { line: { color, width: 0 }, hoverinfo: "skip" };
      add(" low", (values) => Math.min(...values), edge);
      add(" high", (values) => Math.max(...values), {
        ...edge,
        fill: "tonexty",
        fillcolor: `${color}-band`,
      });
    }
    add("", mean, { mode, line: { color, width: 2.4 }, marker: { color, size: 6 } });
    const last = known.at(-1);
    if (last) ends.push({ init, name, x: last.step, y: mean(last.values) });
  }
  return { data, ends };
}

/** @param {Packed} like @param {number} steps @param {Record<string, any>} changed */
function layoutLike(like, steps, changed) {
  const xaxis = { ...JSON.parse(like.layout.xaxis), range: [0, 1.016 * steps] };
  const texts = Object.entries({ xaxis, uirevision: "live", ...changed });
  return {
    ...like.layout,
    ...Object.fromEntries(texts.map(([key, value]) => [key, JSON.stringify(value)])),
  };
}

/**
 * Return the packed chart of accuracies so far, like a recorded one.
 *
 * @param {Packed} like
 * @param {Pick<SetUp, "groups" | "steps" | "baseline" | "examples">} setUp
 * @param {{ step: number, values: (number | null)[] }[]} points
 */
export function accuracyFigure(like, { groups, steps, baseline, examples }, points) {
  const { data, ends } = curves(groups, points, "lines+markers");
  const known = JSON.parse(like.layout.annotations ?? "[]");
  const guess = known.filter((/** @type {any} */ { name }) => baseline && name === "guess");
  const labels = ends.map(({ init, name, x, y }) => ({
    ...{ name: `end ${name}`, text: name, x, y, xanchor: "left", xshift: 9, yshift: 0 },
    ...{ align: "left", showarrow: false, captureevents: true, bgcolor: "@card" },
    font: { size: 12, color: `@${init}-text` },
  }));
  const { members, ...meta } = JSON.parse(like.layout.meta);
  const seeds = groups[0].lanes.length;
  const band = seeds > 1 ? `band: range of ${seeds} seeds` : "one seed";
  meta.unit = `${examples} held-out examples; ${band}, on your machine`;
  meta.how = "Higher is better. Held-out examples are those that no lane trains on.";
  const longest = Math.max(...groups.map(({ name }) => name.length));
  const margin = { ...JSON.parse(like.layout.margin), r: 14 + Math.ceil(7.1 * longest) };
  const changed = { meta, margin, annotations: [...guess, ...labels] };
  return {
    data: baseline ? { base: like.data["0"], ...data } : data,
    layout: layoutLike(like, steps, changed),
  };
}

/**
 * Return the packed chart of a measure of every step, on a logarithmic axis.
 *
 * @param {Packed} like
 * @param {Pick<SetUp, "groups" | "steps">} setUp
 * @param {{ step: number, values: (number | null)[] }[]} points
 * @param {string} unit
 */
export function stepsFigure(like, { groups, steps }, points, unit) {
  const { data } = curves(groups, points, "lines");
  const { members, smoothing, ...meta } = JSON.parse(like.layout.meta);
  const { range, tickvals, ticktext, ...yaxis } = JSON.parse(like.layout.yaxis);
  const message = points.length ? "" : "No step has been made yet.";
  const changed = { meta: { ...meta, unit, message }, annotations: [] };
  return {
    data,
    layout: layoutLike(like, steps, {
      ...changed,
      yaxis: { ...yaxis, ...TICKS, autorange: true, showticklabels: true },
    }),
  };
}

/**
 * Return an answer in words: the right one if it begins with its tokens, as in accuracy; else as many tokens
 * as the right one has, or the first line of them. An ellipsis marks that it went on.
 *
 * @param {number[]} tokens
 * @param {number[]} right
 * @param {(tokens: number[]) => string} decode without the token that ends a text
 */
export function answerText(tokens, right, decode) {
  if (right.length && right.every((token, i) => tokens[i] === token)) return decode(right).trim();
  const said = right.length ? tokens.slice(0, right.length) : tokens;
  const [line, ...others] = decode(said).trim().split("\n");
  const ended = others.length > 0 || decode(said.slice(-1)) === "";
  return line.trim() + (ended ? "" : "…");
}

/**
 * Return the card of the answers.
 *
 * @param {Pick<SetUp, "groups" | "questions" | "decode">} of
 * @param {number[][]} base
 * @param {(number[][] | null)[]} lanes
 * @param {string} when
 */
export function answersCard({ groups, questions, decode }, base, lanes, when) {
  /** @param {string} text @param {string} expected */
  const judged = (text, expected) => {
    const shown = plain(text || "(nothing)");
    if (!expected) return `<span class="said">${shown}</span>`;
    const [kind, word, sign] = text === expected ? ["ok", "right", "✓"] : ["no", "wrong", "✗"];
    return `<span class="said ${kind}">${shown} <span role="img" title="${word}" aria-label="${word}">${sign}</span></span>`;
  };
  const blocks = questions.map(({ prompt, right }, i) => {
    const expected = decode(right).trim();
    const words = (/** @type {number[]} */ tokens) => answerText(tokens, right, decode);
    const rows = groups.map(({ init, name, lanes: members }) => {
      const said = members.map((k) => lanes[k]).filter((all) => all !== null);
      const texts = said.map((all) => words(all[i]));
      const each = [...new Set(texts)].map((text) => {
        const count = texts.filter((other) => other === text).length;
        const share = count < texts.length ? ` ${count} of ${texts.length}` : "";
        return judged(text, expected) + share;
      });
      const who = `<span class="who">${mark(init)}<span class="word">${name}</span></span>`;
      return `<li>${who}<span>${each.join("<br>") || "–"}</span></li>`;
    });
    const own = judged(words(base[i]), expected);
    rows.push(`<li><span class="who">base model</span><span>${own}</span></li>`);
    const wanted = expected ? ` → <b>${plain(expected)}</b>` : " →";
    const head = `<p><span class="prompt">${plain(prompt)}</span>${wanted}</p>`;
    return `<div class="asked">${head}<ul class="rows">${rows.join("")}</ul></div>`;
  });
  const [first, ...others] = blocks;
  const more = `${others.length} more prompt${others.length > 1 ? "s" : ""}`;
  const rest = others.length
    ? `<details><summary>${more}</summary>${others.join("")}</details>`
    : "";
  const at = `<span class="hint">${when}</span>`;
  return `<h2>Watch them answer ${at}</h2><div class="all-asked">${first}${rest}</div>`;
}

/**
 * Return what turns the messages of a race into frames.
 *
 * @param {Record<string, Packed>} like recorded charts
 * @param {SetUp} setUp
 * @param {(frames: Frame[]) => void} show
 */
export function teller(like, setUp, show) {
  const { groups, questions } = setUp;
  const inits = groups.flatMap(({ init, lanes }) => lanes.map(() => init));
  /** @type {Frame[]} */
  const frames = [];
  const [accuracy, heldOut, losses, norms] = [0, 1, 2, 3].map(
    () => /** @type {{ step: number, values: (number | null)[] }[]} */ ([]),
  );
  /** @type {Extract<Heard, { kind: "ready" }> | null} */
  let ready = null;
  /** @type {(Examples | null)[] | undefined} of the latest evaluation */
  let judged;

  /** @param {number} at @param {(number | null)[]} lost @param {(number | null)[]} shares @param {(number[][] | null)[]} said @param {(PicturedByLayer | null)[]} [factors] @param {(Examples | null)[]} [examples] */
  const frame = (at, lost, shares, said, factors, examples) => {
    accuracy.push({ step: at, values: shares });
    heldOut.push({ step: at, values: lost });
    judged = examples;
    /** @type {Record<string, string>} */
    const texts = { verdict: at ? wordsAt(at, at === setUp.steps) : before(shares[0]) };
    if (questions.length) {
      const when = at ? `at step ${at}` : "at the start";
      texts.answers = answersCard(setUp, ready?.answers ?? [], said, when);
    }
    /** @type {Record<string, Packed>} */
    const figures = { accuracy: accuracyFigure(like.accuracy, setUp, accuracy) };
    if (like.loss) figures.loss = stepsFigure(like.loss, setUp, losses, "nats per answer token");
    if (like.gradient)
      figures.gradient = stepsFigure(like.gradient, setUp, norms, "‖∇‖ before clipping");
    frames.push({ at, texts, figures, inside: ready && inside(ready, at, factors) });
    show(frames);
  };

  /** The verdict where the race has ended, at one rate. @param {number} at @param {boolean} isOver */
  function wordsAt(at, isOver) {
    const { rate, guess } = setUp;
    const found = isOver && judged && rate ? verdict(groups, judged, heldOut, rate, guess) : null;
    return found ? ended(found) : soFar(groups, accuracy[accuracy.length - 1].values, at);
  }

  /** Say of a race that was stopped what its latest evaluation says of its end. */
  function stopped() {
    const last = frames[frames.length - 1];
    const first = `before the first held-out results, at step ${setUp.every || setUp.steps}.`;
    const verdict = last.at ? wordsAt(last.at, true) : line("Stopped", "", first);
    frames[frames.length - 1] = { ...last, texts: { ...last.texts, verdict } };
    show(frames);
  }

  /** @param {Extract<Heard, { kind: "ready" }>} ready @param {number} step @param {(PicturedByLayer | null)[]} [factors] */
  function inside(ready, step, factors) {
    /** @param {string} layer @param {Group} group */
    const lane = (layer, { init, name: label, lanes: [k] }) => {
      const [now, start] = [factors?.[k]?.[layer], ready.start[k][layer]];
      const { short = "", summary = "" } = setUp.starts[init] ?? {};
      return {
        ...{ mark: mark(init), init, label, short, summary, scaling: ready.scales[k] },
        ...{ A0: start.A, B0: start.B, A: now?.A ?? null, B: now?.B ?? null },
        sigma: now?.sigma ?? [],
      };
    };
    const layers = Object.entries(setUp.layers).filter(([layer]) => ready.weights[layer]);
    return Object.fromEntries(
      layers.map(([layer, name]) => {
        const { picture: W, shape } = ready.weights[layer];
        const lanes = Object.fromEntries(groups.map((group, i) => [i, lane(layer, group)]));
        return [layer, { layer, name, step, shape, W, lanes }];
      }),
    );
  }

  return (/** @type {Heard} */ message) => {
    if (message.kind === "ready") {
      ready = message;
      const same = inits.map(() => message.answers);
      frame(
        0,
        inits.map(() => message.base.evalLoss),
        inits.map(() => message.base.evalAccuracy),
        same,
      );
    } else if (message.kind === "step") {
      losses.push({ step: message.step, values: message.loss });
      norms.push({ step: message.step, values: message.gradNorm });
      if (message.evalAccuracy)
        frame(
          message.step,
          message.evalLoss ?? [],
          message.evalAccuracy,
          message.answers ?? [],
          message.factors,
          message.examples,
        );
    } else if (message.kind === "done" && message.status === "stopped") stopped();
  };
}
