// What an address says of a class: 1 is class mode, a name a class, and others get no projector.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  className,
  forOthers,
  nameOf,
  projected,
  projects,
} from "../../olora_viz/web/classroom/address.js";

test("class=1 is class mode without a class, a name is a class without class mode", () => {
  /** @type {[string, string, boolean][]} */
  const known = [
    ["", "", false],
    ["?class=0", "", false],
    ["?class=1", "", true],
    ["?class=Ours", "ours", false],
    ["?class=ours&projector=1", "ours", true],
    ["?class=x", "", false],
    ["?class=year+9&projector=1", "", true],
  ];
  for (const [search, name, on] of known)
    assert.deepEqual([className(search), projects(search)], [name, on]);
});

test("class mode is turned on and off, and all else stays", () => {
  for (const search of ["", "steps=5&lane=olora:lr=1e-3,r=4", "class=ours&lesson=qr"]) {
    const on = projected(`?${search}`, true);
    assert.ok(projects(`?${on}`));
    assert.equal(className(`?${on}`), className(`?${search}`));
    assert.equal(projected(`?${on}`, true), on);
    assert.equal(projected(`?${on}`, false), search);
  }
});

test("a link for others leads into the class, and not onto a projector", () => {
  assert.equal(forOthers("?class=ours&projector=1&lesson=qr"), "class=ours&lesson=qr");
  assert.equal(forOthers("?class=1"), "class=1");
});

test("whatever a teacher types becomes a name that a class may have", () => {
  /** @type {[string, string][]} */
  const known = [
    ["Lora-7b", "lora-7b"],
    ["  Year 9 (maths) ", "year-9-maths"],
    ["9b", "class-9b"],
    ["Zoë <b>", "zoe-b"],
    ["a long name of a class of mine", "a-long-name-of-a-class-o"],
    ["twenty-three letters here and", "twenty-three-letters-her"],
  ];
  for (const [typed, name] of known) {
    assert.equal(nameOf(typed), name);
    assert.equal(className(`?class=${name}`), name);
  }
  assert.deepEqual(["", " - ", "日本"].map(nameOf), ["", "", ""]);
});
