// Tokens for tests/web/test_live.py: node live_tokens.mjs ASKED ANSWERS, of texts and of pairs.

import { readFileSync, writeFileSync } from "node:fs";

import { tokenizerOf } from "../../olora_viz/web/site/live/tokenizer.js";

const [asked, answers] = process.argv.slice(2);
const { data, texts, pairs } = JSON.parse(readFileSync(asked, "utf8"));
const tokenizer = tokenizerOf(data.tokenizer);
const encoded = texts.map(tokenizer.encode);
const told = {
  encoded,
  decoded: encoded.map(tokenizer.decode),
  examples: pairs.map((/** @type {[string, string]} */ pair) => tokenizer.example(...pair)),
};
writeFileSync(answers, JSON.stringify(told));
