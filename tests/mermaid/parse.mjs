// Says of each picture, a JSON list on standard input, what Mermaid's parser says: "" if it can be
// drawn.
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

// Labels are cleaned by a library for browsers.
globalThis.window = new JSDOM("<!DOCTYPE html>").window;
globalThis.document = globalThis.window.document;
const { default: mermaid } = await import("mermaid");

const said = [];
for (const picture of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    await mermaid.parse(picture);
    said.push("");
  } catch (error) {
    said.push(error.message);
  }
}
console.log(JSON.stringify(said));
