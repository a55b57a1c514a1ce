// Exports of a run, and the adapters of its lanes.
//
// Gradio runs this with `element`, `props`, `server` and `watch`; props.value is null before the
// first step, then { lanes, star, recorded, owned }. The key of the run is where the tab holds it, see held.js.

import { here, load } from "../../figures/live/gradio/serving.js";

const list = element.querySelector(".adapters");
const hint = element.querySelector(".hint");
const key = () => sessionStorage.getItem(props.held);
/** @type {NodeListOf<HTMLButtonElement>} */
const buttons = element.querySelectorAll(".exports [data-kind]");
const everything = /** @type {HTMLButtonElement} */ (element.querySelector("[data-lane=all]"));
for (const button of buttons) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const [{ save, standalone }, { palette }] = await Promise.all([
        load(files.exporter),
        load(files.palette),
      ]);
      const file = await server.taken([key(), button.dataset.kind]);
      const sources = { plotly: here(files.plotly), module: here(files.module) };
      if (file.problem) hint.textContent = file.problem;
      else if (file.page) {
        const page = { ...file.page, palette, sources };
        save(file.name, await standalone(page), file.type);
      } else save(file.name, file.text, file.type);
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      hint.textContent = `export failed: ${message || "the server does not answer"}`;
    }
    button.disabled = !props.value;
  });
}

/** @typedef {{ lane: number, label: string, init: string, dash: string }} Adapter */

const show = () => {
  /** @type {{ lanes: Adapter[], star?: string, recorded?: boolean, owned?: boolean }} */
  const { lanes, star, recorded, owned = true } = props.value || { lanes: [] };
  for (const button of buttons) button.disabled = !props.value;
  hint.textContent = lanes.length
    ? "Adapters in PEFT's format, zipped. Each was loaded again and compared with its lane."
    : recorded
      ? "A recorded race has no adapters: press Race to train your own."
      : !owned
        ? "The adapters are for the run's owner alone: press Race to train your own."
        : "After the race: every lane as an adapter in PEFT's format, loaded again as a check.";
  const [first, ...others] = lanes.map(download);
  if (first) {
    first.prepend("★ ");
    first.title = `take this one: ${star}. ${first.title}`;
  }
  everything.disabled = !first;
  list.replaceChildren(...(first ? [first] : []), ...(others.length ? [folded(others)] : []));
};

/** @param {Adapter} adapter */
const download = ({ lane, label, init, dash }) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.dataset.lane = String(lane);
  button.title = `Download the adapter of ${label}`;
  const mark = document.createElement("span");
  mark.className = `mark ${dash}`;
  mark.style.setProperty("--lane", `var(--${init})`);
  button.append(mark, label, " ↓");
  button.addEventListener("click", () => fetched(lane));
  return button;
};

/**
 * Ask for a zip file, and save it.
 *
 * @param {number | string} what the number of a lane, or "all"
 */
const fetched = async (what) => {
  const file = await server.adapter([key(), what]);
  if (!file.url) {
    hint.textContent = file.problem;
    return;
  }
  const link = document.createElement("a");
  link.href = here(file.url);
  link.download = file.name;
  link.click();
  hint.textContent = file.found;
};

everything.addEventListener("click", async () => {
  everything.disabled = true;
  hint.textContent = "Everything is being packed …";
  await fetched("all");
  everything.disabled = false;
});

/** @param {HTMLButtonElement[]} others */
const folded = (others) => {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = `${others.length} more adapter${others.length > 1 ? "s" : ""}`;
  const all = document.createElement("div");
  all.className = "adapters";
  all.append(...others);
  details.append(summary, all);
  return details;
};

show();
watch("value", show);
