// Shrinks α of one start: what its first gradient is then, and a live race with it.

import { short } from "./svg.js";

/**
 * Fill a place.
 *
 * @param {HTMLElement} place
 * @param {{ rank: number, shares: number[], norms: Record<string, number>, live: string[] }} given
 *   shares: scalings s = α / r; norms: first gradients at s = 1, the other start's before that whose α is changed
 */
export function alpha(place, { rank, shares, norms, live }) {
  const [[other, fixed], [name, norm]] = Object.entries(norms);
  const top = Math.max(fixed, norm);
  place.innerHTML = `<section class="alpha">
    <h2>Shrink α <span class="hint">of one start; r = ${rank}, s = α / r</span></h2>
    <label class="row"><span class="name"></span><input type="range" min="0" max="${shares.length - 1}" value="0" step="1">
      <output></output></label>
    <div class="bars">${[other, name].map(() => `<span></span><span class="bar"><i></i></span><span class="norm"></span>`).join("")}</div>
    <p role="status"></p><p class="row"><a target="_blank" hidden></a></p></section>`;
  const all = (/** @type {string} */ one) =>
    /** @type {HTMLElement[]} */ ([...place.querySelectorAll(one)]);
  const slider = /** @type {HTMLInputElement} */ (place.querySelector("input"));
  const link = /** @type {HTMLAnchorElement} */ (place.querySelector("a"));
  all(".name")[0].textContent = `${name}'s α`;
  slider.setAttribute("aria-label", `${name}'s α, the smaller the further to the right`);

  const show = () => {
    const at = Number(slider.value);
    const now = norm * shares[at];
    const own = short(shares[at] * rank);
    all("output")[0].textContent = `α = ${own}, s = ${short(shares[at], 4)}`;
    slider.setAttribute("aria-valuetext", `α = ${own}`);
    [
      [other, fixed],
      [name, now],
    ].forEach(([label, value], i) => {
      all(".bars > span:nth-child(3n + 1)")[i].textContent = `${label}`;
      all(".bar i")[i].style.width = `${(100 * Number(value)) / top}%`;
      all(".norm")[i].textContent = short(Number(value));
    });
    all("p[role]")[0].textContent =
      `The norm of ${name}'s first gradient is ${short(now)}, ${short(now / fixed, 1)} times ${other}'s. It shrinks ` +
      "exactly as s does: before the first step s does not change the model.";
    link.hidden = !live[at];
    link.href = live[at];
    link.textContent = at
      ? `Race it live with α = ${own}, beside α = ${rank} and ${other}`
      : "Race the two live";
  };
  slider.addEventListener("input", show);
  show();
}
