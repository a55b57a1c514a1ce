// What a race in the browser reads and what it tells.

import type { numpy } from "@jax-js/jax";

/** A matrix, row by row. */
export type Matrix<Values = Float32Array> = { values: Values; rows: number; columns: number };
export type Tensor = numpy.Array;

/** A (r, in) and B (out, r) of a layer, row by row. */
export type Factors = { A: Float32Array; B: Float32Array };
export type FactorsByLayer = Record<string, Factors>;
export type Pair = { A: Tensor; B: Tensor };
export type Tree = Record<string, Pair>;

export type Lane = {
  init: string;
  r: number;
  lr: number;
  /** By default r, that is a scaling of 1. */
  alpha?: number;
  seed?: number;
  weightDecay?: number;
};

/** An example: the place of its first answer token, then its tokens. */
export type Example = number[];
export type Task = {
  name: string;
  summary: string;
  prompt: string;
  answer: string;
  train: Example[];
  heldOut: Example[];
  /** The numbers of the held-out examples that the lanes answer. */
  asked: number[];
  /** By seed, the numbers of the training examples, batch after batch. */
  orders: number[][];
  /** Tokens that a row has room for: a multiple of 4, which WebAssembly multiplies at once. */
  width: number;
  /** Answer tokens that a batch has room for. */
  supervised: number;
};
export type Model = {
  /** Float16 in base64. */
  weights: string;
  /** Name and shape of each weight, in their order. */
  entries: [string, number[]][];
  shape: Shape;
  batchSize: number;
  /** As many as each order has batches. */
  mostSteps: number;
  /** The layers whose factors are pictured. */
  pictured: string[];
  tokenizer: Vocabulary;
};
/** Of byte-pair encoding: a token's number is its place, a merge's rank too. */
export type Vocabulary = { tokens: string[]; merges: string[]; special: string[]; end: number };
export type Data = Model & { tasks: Record<string, Task> };
/** Sizes of a Llama, as its configuration names them. */
export type Shape = {
  hidden_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  rms_norm_eps: number;
  rope_theta: number;
};

/** A picture of a matrix, see measures/factors.py. */
export type Picture = { text: string; scale: number; rows: number; columns: number };
/** Of A, B and the singular values of ΔW. */
export type Pictured = { A: Picture; B: Picture; sigma: number[] };
export type PicturedByLayer = Record<string, Pictured>;

/** Of a lane, by held-out example: its loss, nats, and 1 for a right answer. */
export type Examples = { loss: number[]; right: number[] };
export type Evaluation = { evalLoss: number; evalAccuracy: number; examples: Examples };
/** Of the held-out examples, the answers to prompts in tokens, and A and B since the start. */
export type Measured = Evaluation & { answers: number[][]; factors: PicturedByLayer };
/** A lane after a step; of one that has diverged there is nothing. */
export type Trained = { loss: number; gradNorm: number };
export type Result = { now: FactorsByLayer; start: FactorsByLayer; scale: number };

/** What a race is asked for. */
export type Asked = {
  data: Data;
  lanes: Lane[];
  steps: number;
  evalEvery: number;
  task: string;
  /** Tokens of what the lanes answer at each evaluation. */
  prompts?: number[][];
};

/** What a worker computes on, all its life. */
export type Device = "wasm" | "webgpu";

/** What a worker is asked: one question at a time, answered by one `Answer`. */
export type Question =
  | { ask: "begin"; device: Device; model: Model; task: Task }
  | { ask: "weights" }
  | { ask: "start"; spec: Lane; share: number; of: number }
  | { ask: "add"; lane: number; spec: Lane; start: FactorsByLayer }
  | { ask: "train"; lane: number; examples: Example[] }
  | { ask: "measure"; lane: number; prompts: number[][] }
  | { ask: "result"; lane: number };
export type Answer = { answer: unknown } | { error: string };

/** What the page hears. Every list has a place for each lane; null stands for one that has diverged. */
export type Heard =
  | { kind: "starting"; lane: number }
  | {
      kind: "ready";
      device: Device;
      /** Of the model before the race, which every lane starts as. */
      base: Evaluation;
      /** Tokens of its answers. */
      answers: number[][];
      weights: Record<string, { picture: Picture; shape: [number, number] }>;
      start: PicturedByLayer[];
      scales: number[];
      seconds: number;
    }
  | {
      kind: "step";
      step: number;
      loss: (number | null)[];
      gradNorm: (number | null)[];
      evalLoss?: (number | null)[];
      evalAccuracy?: (number | null)[];
      examples?: (Examples | null)[];
      /** A and B since the start. */
      factors?: (PicturedByLayer | null)[];
      answers?: (number[][] | null)[];
      /** The lanes that have diverged at this step. */
      diverged: number[];
      seconds: number;
    }
  | {
      kind: "done";
      status: "finished" | "stopped";
      step: number;
      lanes: Result[];
      seconds: number;
    }
  | { kind: "error"; error: string };

/** A worker, or what stands in for one. */
export type Host = {
  postMessage(question: Question): void;
  terminate(): void;
  onmessage: ((event: { data: Answer }) => void) | null;
  onerror: ((event: { message?: string }) => void) | null;
};
