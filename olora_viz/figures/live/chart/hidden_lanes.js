// Lanes hidden by the reader: a lane is hidden in all charts of its race.

/** @import { Trace, Visible } from "../types.d.ts" */

const EVENT = "olora-viz-hide";

/** @typedef {{ race: string, lane: string, away: boolean }} Hidden detail of the event */
/** @typedef {Map<string | number, Visible>} Choices lane, or index of a trace without one → choice */

/**
 * The choices in each race, for charts that are drawn later.
 *
 * @type {Map<string, Choices>}
 */
const chosenIn = new Map();

/**
 * Hide lanes in all charts of a race, or show them again.
 *
 * @param {string} race
 * @param {string[]} lanes
 * @param {boolean} away
 */
export function hide(race, lanes, away) {
  const choices = chosenIn.get(race) ?? new Map();
  chosenIn.set(race, choices);
  for (const lane of lanes) {
    choices.set(lane, away ? "legendonly" : true);
    document.dispatchEvent(new CustomEvent(EVENT, { detail: { race, lane, away } }));
  }
}

/**
 * Keep track of what the reader hid in a chart.
 *
 * @param {() => void} changed called when the chart has to be redrawn
 */
export function hiddenLanes(changed) {
  /** @type {string | null} */
  let race = null;
  /** @type {Choices} */
  let visible = new Map();

  /** @param {string} now the race that the chart shows */
  function follow(now) {
    if (now === race) return;
    race = now;
    visible = new Map(chosenIn.get(now)); // also what was hidden before this chart was drawn
  }

  /** @returns {Set<string>} */
  function hidden() {
    const away = [...visible].filter(([, choice]) => choice === "legendonly");
    return new Set(away.map(([lane]) => `${lane}`));
  }

  /** @param {Trace[]} data changed in place */
  function apply(data) {
    data.forEach((trace, i) => {
      const choice = visible.get(group(trace, i));
      if (choice !== undefined) trace.visible = choice;
    });
  }

  /**
   * Hide a lane and its members, or show them again, in all charts of this race.
   *
   * @param {string} lane
   * @param {string[]} [members]
   */
  function turn(lane, members = []) {
    if (race !== null) hide(race, [lane, ...members], !hidden().has(lane));
  }

  /**
   * Record a choice that Plotly reports.
   *
   * @param {Record<string, unknown>} change
   * @param {number[]} traces
   * @param {Trace[]} data
   */
  function restyled(change, traces, data) {
    if (!("visible" in change)) return;
    const chosen = /** @type {Visible[]} */ ([change.visible].flat());
    traces.forEach((at, i) => visible.set(group(data[at], at), chosen[i % chosen.length]));
  }

  /** @param {Event} event */
  function hear(event) {
    const { detail } = /** @type {CustomEvent<Hidden>} */ (event);
    if (detail.race !== race) return;
    visible.set(detail.lane, detail.away ? "legendonly" : true);
    changed();
  }
  document.addEventListener(EVENT, hear);

  return {
    follow,
    hidden,
    apply,
    turn,
    restyled,
    stop: () => document.removeEventListener(EVENT, hear),
  };
}

/**
 * Return the key by which a trace is hidden: its lane, or its index if it has none.
 *
 * @param {Trace} trace
 * @param {number} index
 */
function group(trace, index) {
  return trace.legendgroup ?? index;
}
