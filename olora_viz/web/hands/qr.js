// The QR of two columns in the plane, with the signs of the start: the diagonal of R is never negative.

/** @typedef {[number, number]} Vector */
/** @typedef {{ q1: Vector, q2: Vector, r11: number, r12: number, r22: number }} Factors */

/** @param {Vector} a @param {Vector} b */
const dot = (a, b) => a[0] * b[0] + a[1] * b[1];

/**
 * Return the factors of W = (w1, w2): Q = (q1, q2) is orthonormal, R = ((r11, r12), (0, r22)).
 *
 * Of a w1 of zero q1 is the first unit vector, as in Householder's QR.
 *
 * @param {Vector} w1
 * @param {Vector} w2
 * @returns {Factors}
 */
export function qr(w1, w2) {
  const r11 = Math.hypot(...w1);
  /** @type {Vector} */
  const q1 = r11 ? [w1[0] / r11, w1[1] / r11] : [1, 0];
  /** @type {Vector} */
  const left = [-q1[1], q1[0]];
  const along = dot(left, w2);
  return {
    q1,
    q2: along < 0 ? [q1[1], -q1[0]] : left,
    r11,
    r12: dot(q1, w2),
    r22: Math.abs(along),
  };
}

/**
 * Return the angle between two lines, in degrees from 0 to 90.
 *
 * @param {Vector} a of length one
 * @param {Vector} b of length one
 */
export function between(a, b) {
  const across = Math.abs(a[0] * b[1] - a[1] * b[0]);
  return (Math.atan2(across, Math.abs(dot(a, b))) * 180) / Math.PI;
}
