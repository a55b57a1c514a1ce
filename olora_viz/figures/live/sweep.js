// The fold "Sweep" below the lanes: every start of the table at several ranks and learning rates.

/** @import { Row } from "./lane_table.js" */

const RANKS = "4/16"; // with three rates the first set-up fits into one race

/** @param {number} count @param {string} word */
const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/**
 * Make the fold.
 *
 * @param {object} options
 * @param {() => Row[]} options.lanes the rows of the table
 * @param {number} options.most lanes
 * @param {(rows: Row[]) => void} options.fill puts rows into the table
 */
export function sweep({ lanes, most, fill }) {
  const fold = document.createElement("details");
  fold.className = "sweep";
  fold.innerHTML = `<summary>Sweep</summary><div class="more">
    <label title="A row is raced at each of them; the scaling stays 1"><span>Ranks</span>
      <input name="ranks" autocomplete="off" spellcheck="false"></label>
    <label title="Half a decade apart, around the first lane's rate"><span>Rates</span>
      <input name="rates" autocomplete="off" spellcheck="false"></label></div>
    <p role="status"></p><button type="button" class="quiet" title="Replace the lanes by these starts, ranks and rates">Fill the lanes</button>`;
  const [ranks, rates] = /** @type {NodeListOf<HTMLInputElement>} */ (
    fold.querySelectorAll("input")
  );
  const said = /** @type {HTMLElement} */ (fold.querySelector("p"));
  const button = /** @type {HTMLButtonElement} */ (fold.querySelector("button"));
  ranks.value = RANKS;

  /** A row for every start of the table, with the seeds of its first row. */
  const rows = () =>
    [
      ...new Map(
        lanes()
          .toReversed()
          .map((lane) => [lane.init, lane]),
      ).values(),
    ]
      .toReversed()
      .map(({ init, seed }) => ({ init, seed, r: ranks.value, alpha: "", lr: rates.value }));

  const count = () => {
    const made = rows();
    const seeds = made.map(({ seed }) => seedsIn(String(seed)));
    const each = [ranks.value, rates.value].map((list) => list.split("/").length);
    const total = seeds.reduce((sum, one) => sum + one * each[0] * each[1], 0);
    const alike = seeds.every((one) => one === seeds[0]);
    const of = [
      counted(made.length, "start"),
      counted(each[0], "rank"),
      counted(each[1], "rate"),
      ...(alike ? [counted(seeds[0], "seed")] : []),
    ].join(" × ");
    const more = total > most ? `, more than the ${most} of a race` : "";
    said.textContent = `${of}${alike ? "" : ", each with its seeds"}: ${total} lanes${more}`;
    button.disabled = total > most;
  };

  fold.addEventListener("toggle", () => {
    if (!fold.open) return;
    if (!rates.value) rates.value = around(Number(lanes()[0].lr) || 1e-3);
    count();
  });
  fold.addEventListener("input", count);
  button.addEventListener("click", () => fill(rows()));
  return { fold, count };
}

/**
 * Three rates, half a decade apart: "3e-4/1e-3/3e-3" around 1e-3.
 *
 * @param {number} rate
 */
export function around(rate) {
  const place = Math.round(2 * Math.log10(rate));
  return [place - 1, place, place + 1]
    .map((half) => (10 ** (half / 2)).toExponential(0).replace("e+", "e"))
    .join("/");
}

/**
 * How many seeds a list such as "0-2" or "0/3/7" names.
 *
 * @param {string} text
 */
export function seedsIn(text) {
  return text.split("/").reduce((sum, part) => {
    const [first, last = first] = part.split("-").map(Number);
    return sum + (last >= first ? last - first + 1 : 1);
  }, 0);
}
