// The page has one state, whichever script asks; whoever subscribes hears of every change, and of nothing else.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { get, set, subscribe } from "../../olora_viz/figures/live/store.js";

/** @type {{ dataset: Record<string, string> }} */
const root = { dataset: {} };
Object.assign(globalThis, { window: globalThis, document: { documentElement: root } });

beforeEach(() => {
  delete globalThis.window.oloraVizStore;
  root.dataset = {};
});

test("the page is the one of the document, until another one is opened", () => {
  root.dataset.page = "race";
  assert.equal(get("page"), "race");
  set({ page: "learn" });
  assert.equal(get("page"), "learn");
});

test("style sheets read it: a text as it is, and whether something is so by the attribute alone", () => {
  set({ page: "claims", class: true });
  assert.deepEqual(root.dataset, { page: "claims", class: "" });
  set({ class: false });
  assert.deepEqual(root.dataset, { page: "claims" });
});

test("scripts of the same document share the state, whatever bundle they are in", async () => {
  const copy = "../../olora_viz/figures/live/store.js?another";
  const other = /** @type {typeof import("../../olora_viz/figures/live/store.js")} */ (
    await import(copy)
  );
  assert.notEqual(other.get, get);
  let heard = 0;
  subscribe(["page"], () => heard++);
  other.set({ page: "claims" });
  assert.equal(get("page"), "claims");
  assert.equal(heard, 1);
});

test("a subscriber hears of what is another value now, at once, until it ends that", () => {
  /** @type {string[]} */
  const heard = [];
  const end = subscribe(["page"], () => heard.push(get("page")));
  set({ page: "claims" });
  set({ page: "claims" });
  set({});
  assert.deepEqual(heard, ["claims"]);
  end();
  set({ page: "race" });
  assert.deepEqual(heard, ["claims"]);
});
