// The exact test of paired differences: if chance alone decided, each could as well have the other sign.

const SAME = 1e-12; // of means, relative to the largest difference

/**
 * Return the mean of each arrangement of signs; bit i of its index turns the sign of difference i.
 *
 * @param {number[]} differences
 * @returns {number[]}
 */
export function arrangements(differences) {
  const n = differences.length;
  return Array.from({ length: 2 ** n }, (_, signs) => {
    const turned = differences.map((x, i) => (signs & (1 << i) ? -x : x));
    return turned.reduce((sum, x) => sum + x, 0) / n;
  });
}

/**
 * Return how many arrangements have a mean at least as far from zero as that of the observed signs, the first.
 *
 * @param {number[]} means of all arrangements
 */
export function asFar(means) {
  const slack = SAME * Math.max(...means.map(Math.abs));
  return means.filter((mean) => Math.abs(mean) >= Math.abs(means[0]) - slack).length;
}
