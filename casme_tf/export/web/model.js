// LiteRT and the models it runs.

import { loadAndCompile, loadLiteRt, Tensor } from "./litert/index.js";
import { Problem, TEXTS } from "./texts.js";

const here = (path) => new URL(path, import.meta.url).href;

export async function loadRuntime() {
  // Its log is no error of the page.
  self.Module = { locateFile: (name) => here(`litert/${name}`), printErr: console.debug };
  await loadLiteRt(here("litert/litert.js")).catch(async () => { throw await damaged("one of litert/"); });
}

/**
 * Load a model file whose SHA-256 is known.
 * @returns a function: with inputs by name, each [values, shape], it returns outputs by name; with
 *   one such input it returns a list of outputs
 */
export async function loadModel(name, digest) {
  const content = await read(name);
  // Browsers compute digests only where a page comes by https or from this machine.
  if (crypto.subtle && (await sha256(content)) !== digest) throw await damaged(name);
  let model;
  try {
    model = await loadAndCompile(content, { accelerator: "wasm" });
  } catch {
    throw await damaged(name);
  }
  return async (inputs) => {
    const tensor = ([values, shape]) => new Tensor(values, shape);
    const single = Array.isArray(inputs);
    const fed = single ? tensor(inputs)
      : Object.fromEntries(Object.entries(inputs).map(([key, input]) => [key, tensor(input)]));
    const outputs = await model.run(fed);
    const values = Object.entries(outputs).map(([key, output]) => [key, Float32Array.from(output.toTypedArray())]);
    // Tensors lie in the runtime's own memory, which nobody else clears.
    for (const used of [...(single ? [fed] : Object.values(fed)), ...Object.values(outputs)]) used.delete();
    return single ? values.map(([, value]) => value) : Object.fromEntries(values);
  };
}

async function read(name) {
  const content = await fetch(here(name)).then((response) => (response.ok ? response.arrayBuffer() : null)).catch(() => null);
  if (!content) throw new Problem(TEXTS.notWhole(name));
  return new Uint8Array(content);
}

/** Read what model.json says about the models. */
export async function readFacts() {
  const content = await read("model.json");
  try {
    return JSON.parse(new TextDecoder().decode(content));
  } catch {
    throw await damaged("model.json");
  }
}

async function sha256(content) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function damaged(name) {
  // What was kept for use without a network may be what is damaged.
  const kept = self.caches ? await caches.keys() : [];
  const own = (key) => key.startsWith(here(".")) && !key.slice(here(".").length).includes("/");
  await Promise.all(kept.filter(own).map((key) => caches.delete(key)));
  return new Problem(TEXTS.notWhole(name));
}
