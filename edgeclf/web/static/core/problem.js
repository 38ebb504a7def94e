// Why something did not work, by a code; page/texts.js has the words for it.

export class Problem extends Error {
  /**
   * @param {string} code One word, a key of the texts.
   * @param {Record<string, string | number>} [details] What the text names.
   */
  constructor(code, details = {}) {
    super(code);
    this.name = "Problem";
    this.code = code;
    this.details = details;
  }

  /**
   * Whatever was thrown, as a Problem.
   * @param {unknown} error
   * @param {string} code What it counts as, unless it is one already.
   */
  static of(error, code) {
    if (error instanceof Problem) return error;
    return new Problem(code, { reason: error instanceof Error ? error.message : String(error) });
  }
}
