// The race of the site's first page, trained where it is read: chips, sliders and buttons in its sentence.

/** @import { Example, Heard, Lane, Task } from "./types.d.ts" */
/** @import { Row } from "../../../figures/live/lane_table.js" */
/** @import { Frame, Group, Packed, StartWords } from "./told.js" */

import { append } from "../../../figures/live/element.js";
import { mount } from "../../race/lane_line.js";
import { adapterFile } from "./adapter_file.js";
import { rowsOf, taskOf } from "./rows.js";
import { teller } from "./told.js";
import { tokenizerOf } from "./tokenizer.js";

/**
 * @typedef {object} Offer what the page says of the race that it offers
 * @property {string} task the recorded one
 * @property {Row[]} rows of the lanes
 * @property {Record<string, StartWords>} starts
 * @property {Record<string, string>} layers words of those that are looked at
 * @property {number} every steps from one evaluation to the next
 */
/** @typedef {{ pause(): void, resume(): void, step(): void, stop(): void, reset(): void }} Running */

const OWN = "own";
const LONGEST_PROMPT = 48; // tokens
const LEAST_MEMORY = 2; // GB
const LINKED = {
  task: "live-task",
  steps: "live-steps",
  seeds: "live-seeds",
  prompt: "live-prompt",
};
/** A function that fills a vector with a number: only an engine with SIMD takes it. */
const SIMD = [
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0],
  ...[10, 8, 1, 6, 0, 65, 0, 253, 17, 11],
];

/** Why this browser cannot train; empty if it can. */
export function refusal() {
  const stays = "the recorded race stays";
  if (typeof WebAssembly !== "object" || typeof Worker !== "function")
    return `This browser has no WebAssembly or no workers, so it cannot train here: ${stays}.`;
  if (!WebAssembly.validate(Uint8Array.from(SIMD)))
    return `This browser's WebAssembly has no SIMD, without which training takes hours: ${stays}.`;
  const { deviceMemory = LEAST_MEMORY } = /** @type {any} */ (globalThis).navigator ?? {};
  if (deviceMemory < LEAST_MEMORY)
    return `This device has ${deviceMemory} GB of memory, and a race needs ${LEAST_MEMORY}: ${stays}.`;
  return "";
}

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

/** @param {string} id */
const field = (id) => /** @type {HTMLSelectElement} */ (document.getElementById(id));

/** The lanes of a line's rows, each with some seeds. @param {Row[]} rows @param {number} seeds @returns {Lane[]} */
export const lanesOf = (rows, seeds) =>
  rows.flatMap(({ init, r, lr, alpha }) =>
    Array.from({ length: seeds }, (_, seed) => ({
      ...{ init: String(init), r: Number(r), lr: Number(lr), seed },
      ...(alpha ? { alpha: Number(alpha) } : {}),
    })),
  );

/** The rate of all rows; empty if they have several. @param {Row[]} rows */
const rateOf = ([{ lr }, ...others]) => (others.every((row) => row.lr === lr) ? String(lr) : "");

/** What always the most frequent answer of the training examples gets right; null if nothing. @param {Task} task */
export function guessOf({ train, heldOut }) {
  const answers = (/** @type {Example[]} */ examples) =>
    examples.map(([from, ...tokens]) => tokens.slice(from).join());
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const answer of answers(train)) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  const most = Math.max(...counts.values());
  const [common] = [...counts].find(([, count]) => count === most) ?? [];
  const right = answers(heldOut).filter((answer) => answer === common).length;
  return right ? right / heldOut.length : null;
}

/**
 * Put the race into the page.
 *
 * @param {object} page
 * @param {Offer} page.offer
 * @param {string} page.assets address of the folder of the scripts
 * @param {Record<string, Packed>} page.like recorded charts
 * @param {(frames: Frame[] | null, total: number) => void} page.show shows other frames with the slider; null: the recorded ones
 */
export function live({ offer, assets, like, show }) {
  const place = /** @type {HTMLElement} */ (document.getElementById("live"));
  const status = /** @type {HTMLElement} */ (document.getElementById("status"));
  const recorded = status.innerHTML;
  const take = /** @type {HTMLElement} */ (document.getElementById("live-take"));
  const [task, steps, seeds, prompt] = Object.values(LINKED).map(field);
  const own = /** @type {HTMLTextAreaElement} */ (document.getElementById("live-rows"));
  let rows = fromLink(offer.rows);
  const words = (/** @type {keyof StartWords} */ key) =>
    Object.fromEntries(Object.entries(offer.starts).map(([init, each]) => [init, each[key]]));
  const line = /** @type {Element} */ (document.querySelector(".lane-line"));
  mount(line, {
    rows,
    starts: words("label"),
    meanings: words("summary"),
    changed: (others) => {
      rows = others;
      intoLink();
    },
  });
  const settle = () => {
    /** @type {HTMLElement} */ (own.parentElement).hidden = task.value !== OWN;
    intoLink();
    if (task.value === OWN && document.querySelector("[data-first]"))
      document.getElementById("view-button")?.click();
  };
  for (const each of [task, steps, seeds, prompt]) each.addEventListener("change", settle);

  /** The set-up that the address names. @param {Row[]} known @returns {Row[]} */
  function fromLink(known) {
    const link = new URLSearchParams(window.location.search);
    for (const [key, id] of Object.entries(LINKED)) {
      const [value, at] = [link.get(key), field(id)];
      const isOffered = !at.options || [...at.options].some((each) => each.value === value);
      if (value && isOffered && value !== OWN) at.value = value;
    }
    const inits =
      link
        .get("starts")
        ?.split(",")
        .filter((init) => init in offer.starts) ?? [];
    const [lr, r] = [Number(link.get("rate")), Number(link.get("rank"))];
    const common = { ...(lr > 0 && lr < 1 ? { lr: String(link.get("rate")) } : {}) };
    const rank = Number.isInteger(r) && r >= 1 && r <= 64 ? { r: String(r) } : {};
    const like = inits.length ? inits.map((init) => ({ ...known[0], init })) : known;
    return like.map((row) => ({ ...row, ...common, ...rank }));
  }

  function intoLink() {
    const link = new URLSearchParams(window.location.search);
    for (const [key, id] of Object.entries(LINKED)) link.set(key, field(id).value);
    if (!prompt.value) link.delete("prompt");
    link.set("starts", rows.map(({ init }) => init).join());
    link.set("rate", String(rows[0].lr));
    link.set("rank", String(rows[0].r));
    try {
      window.history.replaceState(null, "", `?${link}`);
    } catch {
      // a page from a folder keeps its address
    }
  }

  document.getElementById("top-bar")?.append(place);
  place.hidden = false;
  /** @param {string} text @param {string} label */
  const button = (text, label) => {
    const made = append(place, "button", "quiet");
    made.textContent = text;
    made.ariaLabel = made.title = label;
    return made;
  };
  const race = append(place, "button", "primary");
  race.id = "race-button";
  const step = button("▶❚", "Make one step");
  const stop = button("■", "Stop the race");
  const reset = button("↺", "Back to the recorded race");
  /** @type {Running | null} */
  let running = null;
  let [resting, ready, number, where] = [false, false, 0, ""];
  /** @type {Set<number>} lanes of the race */
  let diverged = new Set();

  const buttons = () => {
    race.textContent = running ? (resting ? "▶ Continue" : "❚❚ Pause") : "▶ Race";
    stop.disabled = step.disabled = !running;
    reset.hidden = !("live" in document.documentElement.dataset);
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
  const messageOf = (/** @type {unknown} */ error) => String(/** @type {Error} */ (error).message);

  async function loaded() {
    const here = /** @type {any} */ (globalThis);
    if (!here.oloraLive) await load(`${assets}live.js`);
    if (!here.oloraLiveData) await load(`${assets}live-data.js`);
    return here;
  }

  /** @type {Promise<void> | undefined} */
  let compiled;
  /** Whoever changes the set-up will race: what takes seconds is done meanwhile. */
  const prepare = () => {
    if (compiled || refusal()) return;
    compiled = loaded()
      .then((here) => here.oloraLive.compile(setUp(here.oloraLiveData).asked))
      .catch(() => {}); // Race says what is wrong
  };
  for (const touch of ["pointerdown", "keydown"])
    line.closest(".left")?.addEventListener(touch, prepare, { once: true });

  async function begin() {
    const turn = ++number;
    const cannot = refusal();
    if (cannot) return fail(cannot);
    race.disabled = true;
    say("loading", "the model and its examples, 2.5 MB");
    try {
      await (compiled ??= Promise.resolve());
      const here = await loaded();
      const { asked, words } = setUp(here.oloraLiveData);
      const tell = teller(like, words, (frames) => show(frames, words.steps));
      document.documentElement.dataset.live = "";
      take.replaceChildren();
      running = here.oloraLive.startRace(asked, (/** @type {Heard} */ message) => {
        if (turn !== number) return;
        tell(message);
        hear(message, asked.lanes, words);
      });
      resting = ready = false;
      diverged = new Set();
      say("loading", "the starts of the lanes");
    } catch (error) {
      fail(messageOf(error));
    }
    race.disabled = false;
    buttons();
  }

  /** What the fields ask for; an Error is a sentence. @param {import("./types").Data} data */
  function setUp(data) {
    const tokenizer = tokenizerOf(data.tokenizer);
    /** @type {Task} */
    const known =
      task.value === OWN
        ? taskOf(rowsOf(own.value), tokenizer, data, seeds.options.length)
        : data.tasks[task.value];
    const heldOut = known.asked.map((i) => known.heldOut[i]);
    const prompts = heldOut.map(([from, ...tokens]) => tokens.slice(0, from));
    const questions = heldOut.map(([from, ...tokens]) => ({
      prompt: tokenizer.decode(tokens.slice(0, from)),
      right: tokens.slice(from),
    }));
    const said = prompt.value.trim();
    let width = known.width;
    if (said) {
      const tokens = tokenizer.encode(said);
      if (tokens.length > LONGEST_PROMPT)
        throw Error(`A prompt here has at most ${LONGEST_PROMPT} tokens, not ${tokens.length}.`);
      const longest = Math.max(...known.heldOut.map(([from, ...row]) => row.length - from));
      width = Math.max(width, 4 * Math.ceil((tokens.length + longest) / 4));
      prompts.unshift(tokens);
      questions.unshift({ prompt: said, right: [] });
    }
    const count = Number(seeds.value);
    const lanes = lanesOf(rows, count);
    /** @type {Group[]} */
    const groups = rows.map(({ init }, i) => ({
      init: String(init),
      name: offer.starts[String(init)]?.label ?? String(init),
      lanes: Array.from({ length: count }, (_, seed) => i * count + seed),
    }));
    const total = Number(steps.value);
    const race = { lanes, steps: total, evalEvery: offer.every, task: task.value, prompts };
    return {
      asked: { ...race, data: { ...data, tasks: { [task.value]: { ...known, width } } } },
      words: {
        ...{ groups, questions, starts: offer.starts, layers: offer.layers },
        ...{ steps: total, every: offer.every },
        ...{ examples: known.heldOut.length, baseline: task.value === offer.task },
        ...{ decode: tokenizer.decode, guess: guessOf(known), rate: rateOf(rows) },
      },
    };
  }

  /** @param {Heard} message @param {Lane[]} lanes @param {{ groups: Group[], steps: number }} of */
  function hear(message, lanes, { groups, steps }) {
    if (message.kind === "ready") {
      ready = true;
      where = message.device === "webgpu" ? "on your machine's GPU" : "on your machine";
    } else if (message.kind === "step") {
      message.diverged.forEach((k) => diverged.add(k));
      const time = `${message.seconds.toFixed(0)} s`;
      say(resting ? "paused" : "racing", `step ${message.step} of ${steps} · ${time}`);
    } else if (message.kind === "done") {
      running = null;
      buttons();
      say(message.status, `${message.step} steps in ${message.seconds.toFixed(1)} s, ${where}`);
      const sound = groups.filter(({ lanes: [k] }) => message.step && !diverged.has(k));
      const seed = lanes.some((lane) => lane.seed) ? " of seed 0" : "";
      if (sound.length)
        take.textContent = `Take an adapter${seed} after step ${message.step}, for PEFT: `;
      for (const {
        name,
        lanes: [k],
      } of sound) {
        const link = append(take, "a", "as-link");
        const file = adapterFile(message.lanes[k], lanes[k]);
        link.textContent = name;
        link.href = URL.createObjectURL(new Blob([file], { type: "application/zip" }));
        link.download = `adapter-${lanes[k].init}.zip`;
        take.append(" ");
      }
    } else if (message.kind === "error") fail(message.error);
  }

  race.addEventListener("click", () => {
    if (!running) return void begin();
    resting = !resting;
    if (resting) running.pause();
    else running.resume();
    buttons();
  });
  step.addEventListener("click", () => {
    resting = true;
    running?.step();
    buttons();
  });
  // Before the first step there is nothing that a stopped race could leave.
  stop.addEventListener("click", () => (ready ? running?.stop() : leave()));
  reset.addEventListener("click", leave);

  function leave() {
    number++;
    running?.reset();
    running = null;
    delete document.documentElement.dataset.live;
    take.replaceChildren();
    status.innerHTML = recorded;
    show(null, 0);
    buttons();
  }
  buttons();
}
