// Bases and singular values in double precision; a matrix is a list of its columns.

/** @typedef {import("./types").Matrix} Matrix */

/** @param {Float64Array} x @param {Float64Array} y */
export function dot(x, y) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * y[i];
  return sum;
}

/** @param {Float64Array} x */
const norm = (x) => Math.sqrt(dot(x, x));

/** @param {Matrix} matrix */
export function columnsOf({ values, rows, columns }) {
  return Array.from({ length: columns }, (_, j) =>
    Float64Array.from({ length: rows }, (_, i) => values[i * columns + j]),
  );
}

/** @param {Matrix} matrix */
export function rowsOf({ values, rows, columns }) {
  return Array.from({ length: rows }, (_, i) =>
    Float64Array.from(values.subarray(i * columns, (i + 1) * columns)),
  );
}

/**
 * Return an orthonormal basis of columns: the Q of the QR with diag(R) > 0. Where a column depends
 * on the ones before it, unit vectors complete the basis.
 *
 * @param {Float64Array[]} columns
 */
export function orthonormal(columns) {
  /** @type {Float64Array[]} */
  const basis = [];
  for (const column of columns) {
    let [from, rest] = [column, without(column, basis)];
    for (let i = 0; norm(rest) <= 1e-7 * norm(from); i++) {
      from = new Float64Array(column.length).fill(1, i, i + 1);
      rest = without(from, basis);
    }
    const size = norm(rest);
    basis.push(rest.map((x) => x / size));
  }
  return basis;
}

/** A vector without its part in the span of a basis: twice, for accuracy. @param {Float64Array} vector @param {Float64Array[]} basis */
function without(vector, basis) {
  const rest = vector.slice();
  for (const u of [...basis, ...basis]) {
    const c = dot(u, rest);
    for (let i = 0; i < rest.length; i++) rest[i] -= c * u[i];
  }
  return rest;
}

/**
 * Turn columns X into X V = U diag(S) by one-sided Jacobi, in place.
 *
 * @param {Float64Array[]} X no more columns than rows, for speed
 * @param {Float64Array[]} [V] turned like X, if it is there
 */
export function orthogonalize(X, V) {
  const most = 30;
  for (let sweep = 0, turned = true; turned && sweep < most; sweep++) {
    turned = false;
    const squares = X.map((x) => dot(x, x));
    for (let p = 0; p < X.length; p++) {
      for (let q = p + 1; q < X.length; q++) {
        const g = dot(X[p], X[q]);
        if (Math.abs(g) <= 1e-9 * Math.sqrt(squares[p] * squares[q])) continue;
        turned = true;
        const z = (squares[q] - squares[p]) / (2 * g);
        const t = (z < 0 ? -1 : 1) / (Math.abs(z) + Math.hypot(1, z));
        const c = 1 / Math.hypot(1, t);
        rotate(X[p], X[q], c, c * t);
        if (V) rotate(V[p], V[q], c, c * t);
        squares[p] -= t * g;
        squares[q] += t * g;
      }
    }
  }
}

/** @param {Float64Array} x @param {Float64Array} y @param {number} c @param {number} s */
function rotate(x, y, c, s) {
  for (let i = 0; i < x.length; i++) {
    const a = x[i];
    x[i] = c * a - s * y[i];
    y[i] = s * a + c * y[i];
  }
}

/** @type {WeakMap<Matrix["values"], ReturnType<typeof factorized>>} */
const known = new WeakMap();

/**
 * Return the singular triplets, the largest first; in each u the entry of largest magnitude is
 * positive. They are remembered, since several starts take those of one matrix.
 *
 * @param {Matrix} matrix which does not change
 */
export function triplets(matrix) {
  const each = known.get(matrix.values) ?? factorized(matrix);
  known.set(matrix.values, each);
  return each;
}

/** @param {Matrix} matrix */
function factorized(matrix) {
  const isWide = matrix.rows < matrix.columns;
  const X = isWide ? rowsOf(matrix) : columnsOf(matrix);
  const V = X.map((_, j) => new Float64Array(X.length).fill(1, j, j + 1));
  orthogonalize(X, V);
  const each = X.map((x, j) => {
    const s = norm(x);
    const long = x.map((value) => (s ? value / s : 0));
    const [u, v] = isWide ? [V[j], long] : [long, V[j]];
    const top = u.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    const sign = top < 0 ? -1 : 1;
    return { s, u: u.map((value) => sign * value), v: v.map((value) => sign * value) };
  });
  return each.sort((a, b) => b.s - a.s);
}

/** Return the singular values of columns, the largest first; the columns are changed. @param {Float64Array[]} X */
export function singularValues(X) {
  orthogonalize(X);
  return X.map(norm).sort((a, b) => b - a);
}
