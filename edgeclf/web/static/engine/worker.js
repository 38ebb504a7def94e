// A classic worker, as LiteRT.js loads its WebAssembly by importScripts; all else is in modules.
// A message {id, op, ...} is answered {id, result} or {id, problem: {code, details}}; of what takes
// long, {id, done} tells how far it is.

(() => {
  // Held while this worker lives, so that the page learns of its end.
  navigator.locks.request(self.name, () => {
    postMessage({ lives: true });
    return new Promise(() => {});
  });

  /** @type {any} */
  let session = null;
  const modules = Promise.all([import("./session.js"), import("../core/problem.js")]);

  /** Numbers of messages whose sender does not wait any more. @type {Set<number>} */
  const unwanted = new Set();
  const PAUSE_MS = 50; // between two looks at what else there is to do

  /** @type {Record<string, (message: any) => Promise<any>>} */
  const operations = {
    async load({ bytes, homes }) {
      const [{ Session }] = await modules;
      let loaded;
      [session, loaded] = await Session.load(new Uint8Array(bytes), homes);
      return loaded;
    },
    classify: ({ bytes }) => session.classify(new Uint8Array(bytes)),
    async explain({ id, bytes, target, passes }) {
      const [, { Problem }] = await modules;
      let looked = performance.now();
      const tick = async (/** @type {number} */ done) => {
        if (performance.now() - looked < PAUSE_MS) return;
        postMessage({ id, done });
        await new Promise((resolve) => setTimeout(resolve));
        if (unwanted.delete(id)) throw new Problem("cancelled");
        looked = performance.now();
      };
      return session.explain(new Uint8Array(bytes), target, passes, tick);
    },
    async cancel({ which }) {
      unwanted.add(which);
    },
    async dispose() {
      await session?.dispose();
      session = null;
    },
  };

  addEventListener("message", async ({ data }) => {
    const [, { Problem }] = await modules;
    try {
      postMessage({ id: data.id, result: await operations[data.op](data) });
    } catch (error) {
      const { code, details } = Problem.of(error, "engine_failed");
      postMessage({ id: data.id, problem: { code, details } });
    }
  });
})();
