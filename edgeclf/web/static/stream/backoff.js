// How long to wait before the next try: at random, so that those who were cut off together do not
// come back together; never so long that a link which comes and goes is missed.

const FIRST_MS = 250;
const MOST_MS = 2_000;

/**
 * @param {number} attempt 0 for the first.
 * @param {() => number} random From 0 to 1.
 */
export const delayMs = (attempt, random) => random() * Math.min(MOST_MS, FIRST_MS * 2 ** attempt);
