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
  const V = eigenvectors(X.map((x) => Float64Array.from(X, (y) => dot(x, y))));
  const XV = V.map((v) => combined(X, v));
  orthogonalize(XV, V); // what squaring X has cost in digits
  const each = XV.map((x, j) => {
    const s = norm(x);
    const long = x.map((value) => (s ? value / s : 0));
    const [u, v] = isWide ? [V[j], long] : [long, V[j]];
    const top = u.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    const sign = top < 0 ? -1 : 1;
    return { s, u: u.map((value) => sign * value), v: v.map((value) => sign * value) };
  });
  return each.sort((a, b) => b.s - a.s);
}

/** The sum of c[i] X[i]. @param {Float64Array[]} X @param {Float64Array} c */
function combined(X, c) {
  const sum = new Float64Array(X[0].length);
  for (const [i, x] of X.entries()) {
    const share = c[i];
    for (let y = 0; y < sum.length; y++) sum[y] += share * x[y];
  }
  return sum;
}

/**
 * Return orthonormal eigenvectors of a symmetric matrix, which is used up: made tridiagonal by
 * reflections, then diagonal by QR steps with Wilkinson's shift (Golub and Van Loan, 8.3).
 *
 * @param {Float64Array[]} S
 */
export function eigenvectors(S) {
  const n = S.length;
  /** @type {Float64Array[]} */
  const normals = [];
  const e = new Float64Array(n);
  for (let k = 0; k < n - 1; k++) {
    const v = new Float64Array(n);
    for (let i = k + 1; i < n; i++) v[i] = S[k][i];
    const size = norm(v);
    e[k] = v[k + 1] > 0 ? -size : size;
    v[k + 1] -= e[k];
    const length = norm(v) || 1;
    for (let i = k + 1; i < n; i++) v[i] /= length;
    const w = Float64Array.from(S, (row, i) => (i > k ? 2 * dot(row, v) : 0));
    const half = dot(w, v);
    for (let i = k + 1; i < n; i++) w[i] -= half * v[i];
    for (let i = k + 1; i < n; i++) {
      const [row, a, b] = [S[i], v[i], w[i]];
      for (let j = k + 1; j < n; j++) row[j] -= a * w[j] + b * v[j];
    }
    normals.push(v);
  }
  const d = Float64Array.from(S, (row, i) => row[i]);
  const V = S.map((_, j) => {
    const column = new Float64Array(n).fill(1, j, j + 1);
    for (const v of [...normals].reverse()) {
      const c = 2 * dot(v, column);
      for (let i = 0; i < n; i++) column[i] -= c * v[i];
    }
    return column;
  });
  const isSmall = (/** @type {number} */ k) =>
    Math.abs(e[k]) <= 1e-16 * (Math.abs(d[k]) + Math.abs(d[k + 1]));
  for (let high = n - 1, left = 60 * n; high > 0 && left > 0; left--) {
    if (isSmall(high - 1)) {
      high--;
      continue;
    }
    let low = high - 1;
    while (low > 0 && !isSmall(low - 1)) low--;
    const [gap, last] = [(d[high - 1] - d[high]) / 2, e[high - 1]];
    const far = gap + (gap < 0 ? -1 : 1) * Math.hypot(gap, last);
    let [x, z] = [d[low] - d[high] + (last * last) / far, e[low]];
    for (let k = low; k < high; k++) {
      const r = Math.hypot(x, z);
      const [c, s] = r ? [x / r, z / r] : [1, 0];
      if (k > low) e[k - 1] = r;
      const [a, b, g] = [d[k], e[k], d[k + 1]];
      d[k] = c * c * a + 2 * c * s * b + s * s * g;
      d[k + 1] = s * s * a - 2 * c * s * b + c * c * g;
      e[k] = c * s * (g - a) + (c * c - s * s) * b;
      if (k < high - 1) [x, z, e[k + 1]] = [e[k], s * e[k + 1], c * e[k + 1]];
      rotate(V[k], V[k + 1], c, -s);
    }
  }
  return V;
}

/** Return the singular values of columns, the largest first; the columns are changed. @param {Float64Array[]} X */
export function singularValues(X) {
  orthogonalize(X);
  return X.map(norm).sort((a, b) => b - a);
}
