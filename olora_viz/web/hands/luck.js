// Was it luck? Exchanges the two names of some seeds, and shows how often chance alone comes as far as the race did.

import { arrangements, asFar } from "./permutations.js";
import { set, shape, short } from "./svg.js";

const [WIDTH, HEIGHT, DOT] = [600, 96, 7];

/** @typedef {{ rate: string, differences: number[] }} Pairs the loss of the first start minus that of the second */

/**
 * Fill a place.
 *
 * @param {HTMLElement} place
 * @param {{ names: string[], pairs: Pairs[], live: string[] }} given live: links to races with more seeds
 */
export function luck(place, { names: [first, second], pairs, live }) {
  place.innerHTML = `<section class="luck">
    <h2>Was it luck? <span class="hint"></span></h2>
    <div class="row"><label>Learning rate <select></select></label><span class="seeds row" role="group"
      aria-label="Exchange the names of a seed"></span></div>
    <svg viewBox="0 -8 ${WIDTH} ${HEIGHT + 36}" role="img"></svg>
    <p class="found" role="status"></p>
    <p class="row"><button type="button" data-shuffle>Exchange at random</button>
      <button type="button" data-every>Show all arrangements</button><a target="_blank">Race it live with more seeds</a></p></section>`;
  const part = (/** @type {string} */ one) => /** @type {HTMLElement} */ (place.querySelector(one));
  const select = /** @type {HTMLSelectElement} */ (part("select"));
  const svg = part("svg");
  const link = /** @type {HTMLAnchorElement} */ (part("a"));
  part(".hint").textContent = `held-out loss of ${first} minus ${second}'s, by seed; recorded`;
  for (const { rate } of pairs) select.add(new Option(rate, rate));
  /** @type {number[]} */
  let differences = [];
  /** @type {number[]} */
  let means = [];
  let shown = 0; // the arrangement, bit i: the names of seed i are exchanged
  /** @type {Set<number>} */
  let seen = new Set([0]);

  const begin = () => {
    const at = select.selectedIndex;
    ({ differences } = pairs[at]);
    Object.assign(link, { href: live[at], hidden: !live[at] });
    means = arrangements(differences);
    [shown, seen] = [0, new Set([0])];
    draw();
  };

  const draw = () => {
    const chips = differences.map((x, i) => {
      const is = Boolean(shown & (1 << i));
      const chip = document.createElement("button");
      chip.type = "button";
      chip.textContent = `seed ${i}: ${short(is ? -x : x, 3)}`;
      chip.setAttribute("aria-pressed", `${is}`);
      chip.addEventListener("click", () => go(shown ^ (1 << i), i));
      return chip;
    });
    part(".seeds").replaceChildren(...chips);
    dots();
    part(".found").textContent = words();
  };

  const dots = () => {
    svg.replaceChildren();
    const most = Math.max(...means.map(Math.abs)) || 1;
    const across = (/** @type {number} */ mean) => WIDTH / 2 + (mean / most) * (WIDTH / 2 - 30);
    shape(svg, "line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT });
    for (const [at, anchor] of /** @type {const} */ ([
      [-most, "start"],
      [0, "middle"],
      [most, "end"],
    ])) {
      const label = shape(svg, "text", { x: across(at), y: HEIGHT + 22, "text-anchor": anchor });
      label.textContent = at ? `${short(at)} nats` : "0";
      shape(svg, "line", {
        class: "axis",
        x1: across(at),
        x2: across(at),
        y1: HEIGHT,
        y2: HEIGHT + 5,
      });
    }
    /** @type {Map<number, number>} */
    const heights = new Map();
    means.forEach((mean, i) => {
      const column = Math.round(across(mean) / (2 * DOT + 2));
      const height = heights.get(column) ?? 0;
      heights.set(column, height + 1);
      const dot = shape(svg, "circle", {
        cx: column * (2 * DOT + 2),
        cy: HEIGHT - (2 * DOT + 2) * (height + 0.6),
        r: DOT,
      });
      const far = Math.abs(mean) >= Math.abs(means[0]) * (1 - 1e-9);
      set(dot, {
        class: [seen.has(i) && "seen", far && "far", i === shown && "now"]
          .filter(Boolean)
          .join(" "),
      });
    });
    const [own] = means;
    shape(svg, "line", { class: "own", x1: across(own), x2: across(own), y1: 14, y2: HEIGHT });
    const label = shape(svg, "text", {
      x: across(own),
      y: 11,
      "text-anchor": own > most / 2 ? "end" : own < -most / 2 ? "start" : "middle",
    });
    label.textContent = "the race";
    svg.setAttribute("aria-label", `Mean differences of the ${means.length} arrangements`);
  };

  const words = () => {
    const n = means.length;
    const far = asFar(means);
    const now = `Mean ${short(means[shown], 3)} nats${shown ? " with names exchanged" : ", as raced"}.`;
    if (seen.size < n) return `${now} ${seen.size} of ${n} arrangements seen.`;
    const share = `${Math.round((100 * far) / n)}%`;
    const few = `none is further, but of ${differences.length} seeds none can be rarer: only more seeds could be surer.`;
    const why =
      far <= n / 20 ? "it was hardly luck." : far === 2 ? few : "it may well have been luck.";
    return `${now} In ${far} of ${n} arrangements the mean is at least as far from zero. Chance alone does that in ${share} of all races: ${why}`;
  };

  /** @param {number} to @param {number} [focus] of the seed whose button was pressed */
  const go = (to, focus) => {
    shown = to;
    seen.add(to);
    draw();
    if (focus !== undefined) /** @type {HTMLElement} */ (part(".seeds").children[focus]).focus();
  };
  select.addEventListener("change", begin);
  part("[data-shuffle]").addEventListener("click", () => {
    const left = means.map((_, i) => i).filter((i) => !seen.has(i));
    const from = left.length ? left : means.map((_, i) => i);
    go(from[Math.floor(Math.random() * from.length)]);
  });
  part("[data-every]").addEventListener("click", () => {
    means.forEach((_, i) => seen.add(i));
    go(0);
  });
  begin();
}
