// The race of the site's first page, trained where it is read: chips, sliders and buttons in its sentence, and what
// the race tells as frames of the page's slider.

/** @import { Heard, PicturedByLayer } from "./types.d.ts" */
/** @import { Row } from "../../../figures/live/lane_table.js" */

import { append } from "../../../figures/live/element.js";
import { mount } from "../../race/lane_line.js";

/** @typedef {{ label: string, short: string, summary: string }} StartWords */
/**
 * @typedef {object} Offer what the page says of the race that it offers
 * @property {string} task the recorded one
 * @property {Record<string, string>} tasks words of each
 * @property {Row[]} rows of the lanes
 * @property {Record<string, StartWords>} starts
 * @property {Record<string, string>} layers words of those that are looked at
 * @property {number} steps
 * @property {number} every steps from one evaluation to the next
 */
/** @typedef {{ pause(): void, resume(): void, stop(): void, reset(): void }} Running */
/** @typedef {{ at: number, texts: Record<string, string>, figures: Record<string, any>, inside: any }} Frame */

/** @param {string} init */
const mark = (init) => `<span class="mark solid" style="--lane:var(--${init})"></span>`;
/** @param {number} share */
const percent = (share) => `${Math.round(100 * share)}%`;

/**
 * Load a script once.
 *
 * @param {string} address
 */
function load(address) {
  return new Promise((done, fail) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => done(null);
    script.onerror = () => fail(Error(`${address.split("/").at(-1)} could not be loaded`));
    document.head.append(script);
  });
}

/**
 * Say who is right how often, the best first.
 *
 * @param {string[]} names
 * @param {(number | null)[]} accuracy
 * @param {string} when
 */
export function verdict(names, accuracy, when) {
  const ranked = names
    .map((name, k) => ({ name, share: accuracy[k] }))
    .sort((a, b) => (b.share ?? -1) - (a.share ?? -1))
    .map(({ name, share }) => (share === null ? `${name} diverged` : `${name} ${percent(share)}`));
  return (
    `<div class="verdict"><p role="status"><b>${when}: ${ranked.join(", ")} right.</b></p>` +
    `<p class="below">Trained by this page, on your machine. One seed: the order could be luck.</p></div>`
  );
}

/**
 * Return the packed chart of accuracies so far, like a recorded one.
 *
 * @param {{ data: Record<string, any>, layout: Record<string, string> }} like
 * @param {{ inits: string[], names: string[], steps: number, baseline: boolean, examples: number }} of
 * @param {{ step: number, accuracy: (number | null)[] }[]} evaluated
 */
export function accuracyFigure(like, { inits, names, steps, baseline, examples }, evaluated) {
  /** @type {Record<string, any>} */
  const data = baseline ? { base: like.data["0"] } : {};
  const known = JSON.parse(like.layout.annotations ?? "[]");
  const annotations = baseline
    ? known.filter((/** @type {any} */ { name }) => name === "guess")
    : [];
  for (const [k, init] of inits.entries()) {
    const own = evaluated.filter(({ accuracy }) => accuracy[k] !== null);
    const [x, y] = [own.map(({ step }) => step), own.map(({ accuracy }) => accuracy[k])];
    const color = `@${init}`;
    data[init] = {
      x: x.join(),
      y: y.join(),
      trace: JSON.stringify({
        type: "scatter",
        mode: "lines+markers",
        name: names[k],
        legendgroup: names[k],
        line: { color, width: 2.4 },
        marker: { color, size: 6 },
        hovertemplate: "%{y:.0%}",
      }),
    };
    annotations.push({
      name: `end ${names[k]}`,
      text: names[k],
      x: x.at(-1),
      y: y.at(-1),
      xanchor: "left",
      xshift: 9,
      yshift: 0,
      align: "left",
      showarrow: false,
      captureevents: true,
      bgcolor: "@card",
      font: { size: 12, color: `${color}-text` },
    });
  }
  const { members, ...meta } = JSON.parse(like.layout.meta);
  meta.unit = `${examples} held-out examples; one seed, on your machine`;
  meta.how = "Higher is better. Held-out examples are those that no lane trains on.";
  const xaxis = { ...JSON.parse(like.layout.xaxis), range: [0, 1.016 * steps] };
  const margin = { ...JSON.parse(like.layout.margin), r: 100 };
  const own = { meta, xaxis, margin, annotations, uirevision: "live" };
  const texts = Object.entries(own).map(([key, value]) => [key, JSON.stringify(value)]);
  return { data, layout: { ...like.layout, ...Object.fromEntries(texts) } };
}

/**
 * Put the race into the page.
 *
 * @param {object} page
 * @param {Offer} page.offer
 * @param {string} page.assets address of the folder of the scripts
 * @param {{ data: any, layout: any }} page.like the recorded chart of accuracies
 * @param {(frames: Frame[], total: number) => void} page.show shows other frames with the slider
 */
export function live({ offer, assets, like, show }) {
  const place = /** @type {HTMLElement} */ (document.getElementById("live"));
  const status = /** @type {HTMLElement} */ (document.getElementById("status"));
  const task = /** @type {HTMLSelectElement} */ (document.getElementById("live-task"));
  let rows = offer.rows;
  const words = (/** @type {keyof StartWords} */ key) =>
    Object.fromEntries(Object.entries(offer.starts).map(([init, each]) => [init, each[key]]));
  const line = /** @type {Element} */ (document.querySelector(".lane-line"));
  mount(line, {
    rows,
    starts: words("label"),
    meanings: words("summary"),
    changed: (others) => (rows = others),
  });
  document.getElementById("top-bar")?.append(place);
  place.hidden = false;
  const race = append(place, "button", "primary");
  race.id = "race-button";
  const stop = append(place, "button", "quiet");
  stop.textContent = "■";
  stop.ariaLabel = "Stop the race";
  /** @type {Running | null} */
  let running = null;
  let [resting, number] = [false, 0];

  const buttons = () => {
    race.textContent = running ? (resting ? "▶ Continue" : "❚❚ Pause") : "▶ Race";
    stop.disabled = !running;
  };
  /** @param {string} state @param {string} said */
  const say = (state, said) => {
    const line = document.createElement("div");
    line.className = `status ${state}`;
    const pill = append(line, "span", "state");
    pill.textContent = state;
    pill.setAttribute("role", "status");
    line.append(" ");
    append(line, "span", "word").textContent = said;
    status.replaceChildren(line);
  };
  /** @param {string} sentence */
  const fail = (sentence) => {
    running = null;
    buttons();
    say("failed", sentence);
  };

  async function begin() {
    const [turn, asked] = [++number, task.value];
    race.disabled = true;
    say("loading", "the model and its examples, 2.5 MB");
    const here = /** @type {any} */ (globalThis);
    try {
      if (typeof WebAssembly !== "object" || typeof Worker !== "function")
        throw Error("this browser cannot train here: the recorded race stays");
      if (!here.oloraLive) await load(`${assets}live.js`);
      if (!here.oloraLiveData) await load(`${assets}live-data.js`);
    } catch (error) {
      race.disabled = false;
      return fail(String(/** @type {Error} */ (error).message));
    }
    race.disabled = false;
    document.documentElement.dataset.live = "";
    const lanes = rows.map(({ init, r, lr, alpha }) => ({
      init: String(init),
      r: Number(r),
      lr: Number(lr),
      ...(alpha ? { alpha: Number(alpha) } : {}),
    }));
    const told = teller(lanes, asked);
    running = here.oloraLive.startRace(
      { data: here.oloraLiveData, lanes, steps: offer.steps, evalEvery: offer.every, task: asked },
      (/** @type {Heard} */ message) => turn === number && told(message),
    );
    resting = false;
    buttons();
    say("loading", "the starts of the lanes");
  }

  /** Return what turns the messages of a race into frames. @param {{ init: string }[]} lanes @param {string} asked */
  function teller(lanes, asked) {
    const inits = lanes.map(({ init }) => init);
    const names = inits.map((init) => offer.starts[init]?.label ?? init);
    const examples = /** @type {any} */ (globalThis).oloraLiveData.tasks[asked].heldOut.length;
    const of = { inits, names, steps: offer.steps, baseline: asked === offer.task, examples };
    /** @type {Frame[]} */
    const frames = [];
    /** @type {{ step: number, accuracy: (number | null)[] }[]} */
    const evaluated = [];
    /** @type {Extract<Heard, { kind: "ready" }> | null} */
    let ready = null;
    /** @param {number} at @param {(number | null)[]} accuracy @param {(PicturedByLayer | null)[]} [factors] */
    const frame = (at, accuracy, factors) => {
      evaluated.push({ step: at, accuracy });
      const texts = { verdict: verdict(names, accuracy, at ? `Step ${at}` : "At the start") };
      const figures = { accuracy: accuracyFigure(like, of, evaluated) };
      frames.push({ at, texts, figures, inside: ready && inside(ready, inits, at, factors) });
      show(frames, offer.steps);
    };
    return (/** @type {Heard} */ message) => {
      if (message.kind === "ready") {
        ready = message;
        frame(
          0,
          lanes.map(() => message.base.evalAccuracy),
        );
      } else if (message.kind === "step") {
        say("racing", `step ${message.step} of ${offer.steps} · ${message.seconds.toFixed(0)} s`);
        if (message.evalAccuracy) frame(message.step, message.evalAccuracy, message.factors);
      } else if (message.kind === "done") {
        running = null;
        buttons();
        const took = `${message.step} steps in ${message.seconds.toFixed(1)} s, on your machine`;
        say(message.status, took);
      } else if (message.kind === "error") fail(message.error);
    };
  }

  /**
   * @param {Extract<Heard, { kind: "ready" }>} ready
   * @param {string[]} inits
   * @param {number} step
   * @param {(PicturedByLayer | null)[]} [factors]
   */
  function inside(ready, inits, step, factors) {
    /** @param {string} layer @param {string} init @param {number} k */
    const lane = (layer, init, k) => {
      const [now, start] = [factors?.[k]?.[layer], ready.start[k][layer]];
      const { label = init, short = "", summary = "" } = offer.starts[init] ?? {};
      return {
        ...{ mark: mark(init), init, label, short, summary, scaling: ready.scales[k] },
        ...{ A0: start.A, B0: start.B, A: now?.A ?? null, B: now?.B ?? null },
        sigma: now?.sigma ?? [],
      };
    };
    const layers = Object.entries(offer.layers).filter(([layer]) => ready.weights[layer]);
    return Object.fromEntries(
      layers.map(([layer, name]) => {
        const { picture: W, shape } = ready.weights[layer];
        const lanes = Object.fromEntries(inits.map((init, k) => [k, lane(layer, init, k)]));
        return [layer, { layer, name, step, shape, W, lanes }];
      }),
    );
  }

  race.addEventListener("click", () => {
    if (!running) return void begin();
    resting = !resting;
    if (resting) running.pause();
    else running.resume();
    buttons();
  });
  stop.addEventListener("click", () => running?.stop());
  buttons();
}
