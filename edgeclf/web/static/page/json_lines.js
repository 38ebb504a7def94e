// Lines of JSON from a response that goes on, each as soon as it is whole.

/** @param {ReadableStream<Uint8Array>} body @returns {AsyncGenerator<any>} */
export async function* jsonLines(body) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += decoder.decode(value, { stream: !done });
      const lines = rest.split("\n");
      rest = done ? "" : lines.pop() ?? "";
      for (const line of lines) if (line.trim()) yield JSON.parse(line);
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => {}); // whoever stops early wants no more
  }
}
