// numpy's default_rng(seed).random(), so that masks are those that Python draws: SeedSequence and
// PCG64 (XSL-RR, 128 bits), after numpy's bit_generator.pyx and O'Neill's "PCG" (2014).

const MASK_64 = (1n << 64n) - 1n;
const MASK_128 = (1n << 128n) - 1n;
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;
const POOL = 4;

/** A hash of words of 32 bits, each step with another multiplier. @param {number} start @param {number} multiplier */
function hasher(start, multiplier) {
  let constant = start;
  return (/** @type {number} */ value) => {
    const mixed = (value ^ constant) >>> 0;
    constant = Math.imul(constant, multiplier) >>> 0;
    const product = Math.imul(mixed, constant) >>> 0;
    return (product ^ (product >>> 16)) >>> 0;
  };
}

/** @param {number} x @param {number} y */
function mix(x, y) {
  const mixed = (Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y)) >>> 0;
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** Words of 64 bits that SeedSequence makes of a seed. @param {number} seed Of 32 bits. @param {number} count */
function seeds(seed, count) {
  const hash = hasher(0x43b0d7e5, 0x931e8875);
  const pool = Array.from({ length: POOL }, (_, i) => hash(i ? 0 : seed));
  for (let from = 0; from < POOL; from++) {
    for (let to = 0; to < POOL; to++) if (from !== to) pool[to] = mix(pool[to], hash(pool[from]));
  }
  const out = hasher(0x8b51f9dd, 0x58f38ded);
  const words = Array.from({ length: 2 * count }, (_, i) => BigInt(out(pool[i % POOL])));
  return Array.from({ length: count }, (_, i) => words[2 * i] | (words[2 * i + 1] << 32n));
}

/**
 * @param {number} seed A whole number of at most 32 bits.
 * @returns {() => number} The next number, 0..1, of 53 bits.
 */
export function defaultRng(seed) {
  const [high, low, streamHigh, streamLow] = seeds(seed, 4);
  const increment = ((((streamHigh << 64n) | streamLow) << 1n) | 1n) & MASK_128;
  let state = 0n;
  const step = () => {
    state = (state * MULTIPLIER + increment) & MASK_128;
  };
  step();
  state = (state + ((high << 64n) | low)) & MASK_128;
  step();
  return () => {
    step();
    const folded = (state >> 64n) ^ (state & MASK_64);
    const turn = state >> 122n;
    const turned = ((folded >> turn) | (folded << ((64n - turn) & 63n))) & MASK_64;
    return Number(turned >> 11n) * 2 ** -53;
  };
}
