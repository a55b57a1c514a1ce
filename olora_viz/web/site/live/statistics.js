// Intervals and comparisons of methods over seeds and examples, as studies/statistics.py has them.

/** A mean, its 95% interval, and the p-value of a mean of zero. @typedef {{ mean: number, low: number, high: number, p: number }} Interval */
/** How far a difference scatters from seed to seed, and its degrees of freedom. @typedef {{ variance: number, freedom: number }} Scatter */
/** Of each seed, by example: losses, and 1 for a right answer. @typedef {{ loss: number[][], right: number[][] }} Scores */
/** @typedef {"ahead" | "behind" | "level" | "undecided" | "same"} Kind */

export const ERROR = 0.05;
export const LEAST_EXAMPLES = 20;
export const LEAST_SEEDS = 3;
const PRIOR = 4; // degrees of freedom that other methods' seeds lend at most
const MARGIN_OF_SHARES = 0.05;
const MARGIN_OF_LOSSES = 0.1; // of the lower one
const LEAST_MARGIN = 0.02; // nats
/** Lanczos' coefficients for Γ, with 5 and 6 terms: exact to 2e-10. */
const GAMMA = [
  76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155,
  0.1208650973866179e-2, -0.5395239384953e-5,
];

/** @param {number[]} values */
export const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** @param {number[]} values */
function variance(values) {
  const middle = mean(values);
  return values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1);
}

/** The logarithm of Γ, by Lanczos. @param {number} x positive */
function logGamma(x) {
  const shifted = x + 5.5;
  const series = GAMMA.reduce((sum, c, i) => sum + c / (x + 1 + i), 1.000000000190015);
  return (x + 0.5) * Math.log(shifted) - shifted + Math.log((Math.sqrt(2 * Math.PI) * series) / x);
}

/** The regularized incomplete beta function, by its continued fraction. @param {number} x @param {number} a @param {number} b @returns {number} */
function beta(x, a, b) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - beta(1 - x, b, a);
  const logFront =
    logGamma(a + b) -
    logGamma(a) -
    logGamma(b) +
    a * Math.log(x) +
    b * Math.log1p(-x) -
    Math.log(a);
  const kept = (/** @type {number} */ value) => (Math.abs(value) < 1e-300 ? 1e-300 : value);
  let [c, d] = [1, 1 / kept(1 - ((a + b) * x) / (a + 1))];
  let fraction = d;
  for (let m = 1; m < 500; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    let change = 1;
    for (const term of [even, odd]) {
      d = 1 / kept(1 + term * d);
      c = kept(1 + term / c);
      change = c * d;
      fraction *= change;
    }
    if (Math.abs(change - 1) < 1e-15) break;
  }
  return Math.exp(logFront) * fraction;
}

/** The chance of a t at least as far from zero. @param {number} t @param {number} freedom */
export const twoSided = (t, freedom) => beta(freedom / (freedom + t * t), freedom / 2, 0.5);

/** The t that is exceeded, in either direction, with the accepted error. @param {number} freedom at least 1 */
export function critical(freedom) {
  let [low, high] = [1, 13];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (twoSided(middle, freedom) > ERROR) low = middle;
    else high = middle;
  }
  return low;
}

/** @param {number} middle @param {number} error @param {number} freedom @returns {Interval} */
function around(middle, error, freedom) {
  const half = error * critical(freedom);
  const p = twoSided(Math.abs(middle) / error, freedom);
  return { mean: middle, low: middle - half, high: middle + half, p };
}

/** Student's t interval of a mean. @param {number[]} values @param {Scatter} [known] @returns {Interval} */
export function tInterval(values, known) {
  const middle = mean(values);
  if (values.length < 2) return { mean: middle, low: -Infinity, high: Infinity, p: 1 };
  const { variance: scatter, freedom } = known ?? ownScatter(values);
  const error = Math.sqrt(scatter / values.length);
  if (error <= 1e-15 * Math.abs(middle))
    return { mean: middle, low: middle, high: middle, p: middle ? 0 : 1 };
  return around(middle, error, freedom);
}

/** @param {number[]} values @returns {Scatter} */
const ownScatter = (values) => ({ variance: variance(values), freedom: values.length - 1 });

/** @param {number[]} a @param {number[]} b */
const minus = (a, b) => a.map((value, i) => value - b[i]);
/** @param {number[]} a @param {number[]} b */
const isEqual = (a, b) => a.every((value, i) => value === b[i]);

/**
 * Return how far a difference scatters over the seeds, which all methods' seeds help to tell.
 *
 * @param {number[]} ours means of one method by seed
 * @param {number[]} theirs
 * @param {number[][]} among of all methods
 * @returns {Scatter}
 */
function scatterAmong(ours, theirs, among) {
  const gap = minus(ours, theirs);
  const own = ownScatter(gap);
  /** @type {number[][]} */
  const distinct = [];
  for (const means of [ours, theirs, ...among])
    if (!distinct.some((known) => isEqual(known, means))) distinct.push(means);
  if (gap.length < 2 || distinct.length < 3 || gap.every((value) => !value)) return own;
  const scatter = distinct.map((means) =>
    mean(distinct.filter((each) => each !== means).map((each) => variance(minus(means, each)))),
  );
  const wider = Math.max(scatter[0], scatter[1]);
  if (!wider) return own;
  const others = (distinct.length - 2) * (gap.length - 1);
  const lent = Math.min(1, mean(scatter) / wider) * Math.min(PRIOR, others);
  const freedom = own.freedom + lent;
  return { variance: (own.freedom * own.variance + lent * wider) / freedom, freedom };
}

/** Welch's interval for other examples and other seeds at once. @param {number[]} byExample @param {number[]} bySeed @param {Scatter} known @returns {Interval} */
function ofBoth(byExample, bySeed, known) {
  const parts = [
    [variance(byExample) / byExample.length, byExample.length - 1],
    [known.variance / bySeed.length, known.freedom],
  ];
  const error = Math.sqrt(parts.reduce((sum, [part]) => sum + part, 0));
  if (!error) return tInterval(bySeed);
  const freedom = error ** 4 / parts.reduce((sum, [part, its]) => sum + part ** 2 / its, 0);
  return around(mean(byExample), error, freedom);
}

/** Adjust p-values for multiple comparisons (Holm 1979). @param {number[]} values */
export function holm(values) {
  const order = values.map((_, i) => i).sort((i, j) => values[i] - values[j]);
  const adjusted = values.map(() => 0);
  let highest = 0;
  order.forEach((i, rank) => {
    highest = Math.max(highest, Math.min(1, values[i] * (values.length - rank)));
    adjusted[i] = highest;
  });
  return adjusted;
}

/**
 * Compare every pair of methods; `kind[i][j]` is that of i against j, and so is its interval.
 *
 * @param {Scores[]} methods of the same seeds and examples
 * @param {boolean} shares whether right answers are compared, or losses
 */
export function compareAll(methods, shares) {
  const values = methods.map(({ loss, right }) => (shares ? right : loss));
  const means = values.map((of) => of.map(mean));
  const pairs = methods.flatMap((_, j) => Array.from({ length: j }, (_, i) => ({ i, j })));
  const intervals = pairs.map(({ i, j }) => {
    const gap = values[i].map((row, seed) => minus(row, values[j][seed]));
    const byExample = gap[0].map((_, n) => mean(gap.map((row) => row[n])));
    const padded = shares ? [...byExample, 1, -1] : byExample; // Bonett and Price 2012
    const all = [tInterval(padded)];
    if (gap.length > 1) {
      const [bySeed, scatter] = [gap.map(mean), scatterAmong(means[i], means[j], means)];
      all.push(tInterval(bySeed, scatter), ofBoth(padded, bySeed, scatter));
    }
    const middle = mean(gap.flat());
    const same = methods[i].loss.every((row, seed) => isEqual(row, methods[j].loss[seed]));
    const low = Math.max(shares ? -1 : -Infinity, Math.min(middle, ...all.map((each) => each.low)));
    const high = Math.min(shares ? 1 : Infinity, Math.max(middle, ...all.map((each) => each.high)));
    if (same) return { mean: middle, low: 0, high: 0, p: 1 };
    return { mean: middle, low, high, p: Math.max(...all.map((each) => each.p)) };
  });
  const p = holm(intervals.map((each) => each.p));
  const isEnough = values[0][0].length >= LEAST_EXAMPLES;
  /** @type {Interval[][]} */
  const interval = methods.map(() => []);
  /** @type {Kind[][]} */
  const kind = methods.map(() => []);
  pairs.forEach(({ i, j }, at) => {
    const whole = Math.min(mean(means[i]), mean(means[j]));
    const margin = shares ? MARGIN_OF_SHARES : Math.max(LEAST_MARGIN, MARGIN_OF_LOSSES * whole);
    const { mean: middle, low, high } = intervals[at];
    interval[i][j] = { ...intervals[at], p: p[at] };
    interval[j][i] = { mean: -middle, low: -high, high: -low, p: p[at] };
    const isOrder = p[at] < ERROR && !(low <= 0 && high >= 0);
    const first = middle > 0 === shares;
    if (!middle && !low && !high) kind[i][j] = kind[j][i] = "same";
    else if (!isEnough) kind[i][j] = kind[j][i] = "undecided";
    else if (-margin < low && high < margin) kind[i][j] = kind[j][i] = "level";
    else if (isOrder) [kind[i][j], kind[j][i]] = first ? ["ahead", "behind"] : ["behind", "ahead"];
    else kind[i][j] = kind[j][i] = "undecided";
  });
  return { kind, interval };
}

/**
 * The lower end of Wilson's interval of a share.
 *
 * @param {number} share
 * @param {number} examples
 */
export function leastShare(share, examples) {
  const z = 1.959963984540054 ** 2 / examples; // of 95%, squared
  const half = Math.sqrt(z * (share * (1 - share) + z / 4));
  return (share + z / 2 - half) / (1 + z);
}
