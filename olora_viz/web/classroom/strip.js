// The strip of a class: sends the bets and answers of this page, and shows how the class voted.
//
// Gradio runs this with `element`. A page with class=NAME in its address is in the class. In class mode
// it opens the class, and shows the code and every histogram; else a histogram is shown to whoever has
// voted on its question.
import { get, set, subscribe } from "../../figures/live/store.js";
import { keep, recall } from "../parts/kept.js";
import { className, forOthers, projects } from "./address.js";

const KEY = "olora-viz-class";
const FOLLOWED = "olora-viz-class-run"; // the race of the teacher's screen that this tab shows
const AT_FIRST = 60_000; // ms until the code on a projector is made smaller
const PROJECTED = 1000; // ms between two looks of a projector
const OWN = 5000; // of any other page
const strip = /** @type {HTMLElement} */ (element.querySelector("#class-strip"));
const part = (/** @type {string} */ one) => /** @type {HTMLElement} */ (strip.querySelector(one));
const [tally, join, problem] = [".tally", ".join", ".problem"].map(part);
const OF_TEACHER = ["[data-clear]", "[data-end]"].map(part);
const code = /** @type {HTMLImageElement} */ (strip.querySelector("img"));
const name = className(window.location.search);
const { origin, pathname } = window.location;
const here = `${origin}${pathname}`;
const short = `${here}c/${name}`;

/** @typedef {{ name: string, member: string, voted: string[] }} Mine the class, this browser's number in it, its votes */

/** @type {Mine} */
let mine = { name, member: "", voted: [] };
let shown = { of: "", version: "" }; // the votes that are drawn
let opens = ""; // what the short address opens
let over = false; // the class has ended
let refused = false; // it could not be opened
let isTeacher = false;

const load = () => {
  try {
    const kept = JSON.parse(recall("localStorage", KEY) ?? "null");
    if (kept?.name === name && typeof kept.member === "string" && Array.isArray(kept.voted))
      mine = kept;
  } catch {
    // not ours
  }
  if (mine.member) return;
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  mine.member = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
};

const keepMine = () => keep("localStorage", KEY, JSON.stringify(mine));

/** @param {string} [sentence] */
const say = (sentence = "") => {
  const words = sentence && `${sentence[0].toUpperCase()}${sentence.slice(1)}.`;
  if (problem.textContent !== words) problem.textContent = words;
  problem.hidden = !words;
};

/** The question that the page asks now: of its bet, or of its lesson. */
const question = () => {
  if (get("page") === "learn")
    return /** @type {HTMLElement | null} */ (document.querySelector("#lesson-guide [data-check]"))
      ?.dataset.check;
  return get("page") === "race" ? get("question") : "";
};

/** The key of the readers of the race in view; empty without one. */
const runInView = () =>
  /** @type {HTMLElement | null} */ (document.querySelector("#show-run-button"))?.dataset.key ?? "";

/** Shows the race on the teacher's screen, once. @param {string} run */
const followRace = (run) => {
  keep("sessionStorage", FOLLOWED, run);
  window.location.assign(`${here}?${new URLSearchParams({ class: name, run })}`);
};

/** Marks the answers that have turned out right, and says how many gave them. */
const score = () => {
  const ended = document.querySelector(
    `#bet-score .bet-run[data-state=ended]:not([data-recorded])[data-key="${CSS.escape(shown.of)}"]`,
  );
  let right = 0;
  let all = 0;
  for (const bar of /** @type {NodeListOf<HTMLElement>} */ (tally.querySelectorAll("li"))) {
    const count = Number(bar.querySelector(".count")?.textContent);
    const isRight = ended?.querySelector(`.right[data-choice="${bar.dataset.choice}"]`) != null;
    bar.toggleAttribute("data-right", isRight);
    all += count;
    if (isRight) right += count;
  }
  const words = tally.querySelector(".scored") ?? document.createElement("p");
  words.className = "scored";
  words.textContent = ended && all ? `${right} of ${all} bet right.` : "";
  tally.append(words);
};

/**
 * @param {string} of the question
 * @param {{ version: string, html: string }} votes
 */
const draw = (of, { version, html }) => {
  shown = { of, version };
  tally.innerHTML = html;
  score();
};

const ENDED = "this class has ended, and its votes are gone: reload the page to open it again";

/** Notes that the class has ended, or is not open. @param {string} sentence */
const end = (sentence) => {
  over = true;
  mine.voted = [];
  say(isTeacher ? ENDED : sentence);
};

/**
 * Send a message; return the answer, null if it has no content or is a refusal, undefined without one.
 *
 * @param {string} path
 * @param {object} [message]
 */
const ask = async (path, message) => {
  try {
    const answer = await fetch(
      here + path,
      message && { method: "POST", body: JSON.stringify(message) },
    );
    if (answer.status === 204) {
      if (over) say();
      over = false;
      return null;
    }
    const content = await answer.json();
    over = false;
    if (content.ended) end(content.problem);
    else say(content.problem);
    if (content.problem) return null;
    return content;
  } catch {
    return undefined; // the page says that the server does not answer
  }
};

/** @param {object} message */
const send = (message) =>
  ask(`class/${encodeURIComponent(name)}`, { member: mine.member, ...message });

/** Opens the class, or tells it what its short address opens now. */
const open = async () => {
  const link = forOthers(window.location.search);
  const page = get("page");
  const run = runInView();
  if (opens === `${link}#${page} ${run}`) return;
  opens = `${link}#${page} ${run}`;
  const answer = await send({ do: "open", link, page, run });
  if (answer === undefined) opens = "";
  refused = answer === null;
  isTeacher = answer?.teacher === true;
  for (const button of OF_TEACHER) button.hidden = !isTeacher;
};

/** @param {string} of @param {string} choice */
const vote = async (of, choice) => {
  const votes = await send({ do: "vote", of, choice });
  if (!votes) return;
  mine.voted = [...mine.voted.filter((one) => one !== of), of];
  keepMine();
  draw(of, votes);
  look(false);
};

/** Sends a bet that was placed before this script listened. @param {string} of the question */
const voteEarly = async (of) => {
  const chip = /** @type {HTMLElement | null} */ (
    document.querySelector(`#bet-card .bet[data-key="${CSS.escape(of)}"] [aria-pressed=true]`)
  );
  if (chip?.dataset.choice && !mine.voted.includes(of)) await vote(of, chip.dataset.choice);
};

/** @param {boolean} [asks] whether the server is asked for what is new */
const look = async (asks = true) => {
  const projecting = projects(window.location.search);
  const of = question() ?? "";
  const sees = of !== "" && (projecting || mine.voted.includes(of));
  strip.hidden = projecting && !["race", "learn"].includes(get("page"));
  part(".member").hidden = projecting;
  tally.hidden = !sees || shown.of !== of;
  join.hidden = !projecting || over;
  if (!asks || document.hidden || (over && projecting)) return;
  if (projecting) {
    await open();
    if (refused) return;
    if (!code.src && opens) code.src = `${here}qr?at=${encodeURIComponent(short)}`;
  }
  if (of && !projecting) await voteEarly(of);
  const since = shown.of === of ? shown.version : "";
  const run = projecting ? runInView() : (recall("sessionStorage", FOLLOWED) ?? "");
  const query = new URLSearchParams({ of: sees ? of : "", since, run });
  const news = await ask(`class/${encodeURIComponent(name)}?${query}`);
  if (news?.run && !projecting && get("page") === "race") {
    followRace(news.run);
  } else if (news?.html && of === question()) {
    draw(of, news);
    look(false);
  }
  if (sees) score();
};

if (name) {
  load();
  const learns = () => {
    const learner = !projects(window.location.search);
    set({ learner, follows: learner && Boolean(recall("sessionStorage", FOLLOWED)) });
  };
  learns();
  subscribe(["class"], learns);
  keepMine();
  for (const place of strip.querySelectorAll(".class-name")) place.textContent = name;
  part(".short").textContent = short.replace(/^https?:\/\//, "");
  part(".local").hidden = !/^(localhost|127\.|\[::1\])/.test(window.location.hostname);
  for (const button of OF_TEACHER) button.hidden = true;
  const repeat = async () => {
    await look();
    setTimeout(repeat, projects(window.location.search) ? PROJECTED : OWN);
  };
  repeat();
  document.addEventListener(
    "click",
    ({ target }) => {
      const button = /** @type {HTMLElement | null | undefined} */ (
        /** @type {Element} */ (target).closest?.("button, .choice summary")
      );
      const of =
        /** @type {HTMLElement | null} */ (button?.closest("#bet-card .bet"))?.dataset.key ??
        /** @type {HTMLElement | null} */ (button?.closest("#lesson-guide [data-check]"))?.dataset
          .check;
      const choice = /** @type {HTMLElement | null | undefined} */ (
        button?.closest(".choice") ?? button
      )?.dataset.choice;
      if (of && choice) vote(of, choice);
    },
    true,
  );
  subscribe(["class", "page"], look);
  const fold = part("[data-fold]");
  /** @param {boolean} [wanted] */
  const turn = (wanted) => {
    const folded = strip.toggleAttribute("data-folded", wanted);
    fold.textContent = folded ? "Larger" : "Smaller";
    fold.setAttribute("aria-expanded", `${!folded}`);
  };
  fold.addEventListener("click", () => turn());
  setTimeout(() => turn(true), AT_FIRST);
  part("[data-clear]").addEventListener("click", async () => {
    if (await send({ do: "clear" })) await look();
  });
  part("[data-end]").addEventListener("click", async () => {
    if (!(await send({ do: "end" }))) return;
    end(ENDED);
    await look(false);
  });
}
