// A classic worker, as LiteRT.js loads its WebAssembly by importScripts; all else is in modules.
// A message {id, op, ...} is answered {id, result} or {id, problem: {code, details}}.

(() => {
  // Held while this worker lives, so that the page learns of its end.
  navigator.locks.request(self.name, () => {
    postMessage({ lives: true });
    return new Promise(() => {});
  });

  /** @type {any} */
  let session = null;
  const modules = Promise.all([import("./session.js"), import("../core/problem.js")]);

  /** @type {Record<string, (message: any) => Promise<any>>} */
  const operations = {
    async load({ bytes, homes }) {
      const [{ Session }] = await modules;
      let loaded;
      [session, loaded] = await Session.load(new Uint8Array(bytes), homes);
      return loaded;
    },
    classify: ({ bytes }) => session.classify(new Uint8Array(bytes)),
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
