// The numbers of torch's CPU generator: MT19937, from the seed of a lane and a layer.

const N = 624;
const ENOUGH = 16; // numbers that torch draws in another way if there are fewer

/** @param {Uint8Array} bytes */
export function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}

/**
 * Return the generator of a lane's start in a layer: a function of whole numbers below 2 ** 32.
 *
 * @param {number} seed
 * @param {string} layer
 */
export function generator(seed, layer) {
  const x = new Uint32Array(N);
  x[0] = crc32(new TextEncoder().encode(`${seed} ${layer}`));
  for (let i = 1; i < N; i++) x[i] = Math.imul(1812433253, x[i - 1] ^ (x[i - 1] >>> 30)) + i;
  let at = N;
  return () => {
    if (at === N) at = twist(x);
    let y = x[at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
}

/** @param {Uint32Array} x */
function twist(x) {
  for (let i = 0; i < N; i++) {
    const y = (x[i] & 0x80000000) | (x[(i + 1) % N] & 0x7fffffff);
    x[i] = x[(i + 397) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
  }
  return 0;
}

/** A float32 in [0, 1). @param {() => number} random */
export const uniform = (random) => (random() & 0xffffff) / 2 ** 24;

/**
 * Draw standard Gaussian numbers as torch does: pairs by Box and Muller, in blocks of 16.
 *
 * @param {() => number} random
 * @param {number} count 16 or more
 */
export function normal(random, count) {
  const drawn = Float64Array.from({ length: count }, () => uniform(random));
  for (let at = 0; at + ENOUGH <= count; at += ENOUGH) pairs(drawn, at);
  if (count % ENOUGH) {
    for (let i = count - ENOUGH; i < count; i++) drawn[i] = uniform(random);
    pairs(drawn, count - ENOUGH);
  }
  return drawn;
}

/** @param {Float64Array} drawn @param {number} at */
function pairs(drawn, at) {
  for (let i = at; i < at + 8; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - drawn[i]));
    const angle = 2 * Math.PI * drawn[i + 8];
    drawn[i] = radius * Math.cos(angle);
    drawn[i + 8] = radius * Math.sin(angle);
  }
}
