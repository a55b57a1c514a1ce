// The forward pass of a small Llama with one adapter on each linear layer.
//
// Arrays of the library are used up by what reads them; `x.ref` is x once more.

import { nn, numpy as np } from "@jax-js/jax";

import { layersOf, onDevice } from "./weights.js";

/** @typedef {import("./types").Tensor} Tensor */
/** @typedef {import("./types").Tree} Tree */
/** @typedef {import("./types").Matrix} Matrix */

/**
 * What a pass reads: each layer's W − s B⁰A⁰, its A and B, and s.
 *
 * @typedef {{ frozen: Record<string, Tensor>, theta: Tree, scale: Tensor }} Adapted
 */
/**
 * @typedef {object} Rows
 * @property {Tensor} ids (rows · width)
 * @property {Tensor} pick (n, rows · width), one-hot: the positions that predict an answer's token
 * @property {Tensor} targets (n) these tokens
 * @property {Tensor} share (n) of each in the loss; zero for what only fills the batch
 */

/**
 * Make the model for rows of one size.
 *
 * @param {Record<string, Matrix>} weights
 * @param {import("./types").Shape} shape
 * @param {number} rows
 * @param {number} width
 */
export function makeModel(weights, shape, rows, width) {
  const { num_attention_heads: heads, num_key_value_heads: shared, head_dim: size } = shape;
  const half = size / 2;
  const names = layersOf(shape);
  const { values, ...table } = weights["model.embed_tokens"];
  const embedding = onDevice(values, table.rows, table.columns);
  const norms = Object.fromEntries(
    Object.entries(weights)
      .filter(([name]) => name.endsWith("norm"))
      .map(([name, { values }]) => [name, onDevice(values, values.length)]),
  );
  /** @param {(angle: number) => number} f */
  const angles = (f) =>
    onDevice(
      Float32Array.from({ length: width * half }, (_, i) =>
        f(Math.floor(i / half) / shape.rope_theta ** ((2 * (i % half)) / size)),
      ),
      width,
      half,
    );
  const [cos, sin] = [angles(Math.cos), angles(Math.sin)];
  const ahead = Float32Array.from({ length: width * width }, (_, i) =>
    i % width > Math.floor(i / width) ? -1e9 : 0,
  );
  const mask = onDevice(ahead, width, width);

  /** @param {Tensor} x @param {string} name */
  const normed = (x, name) => {
    const mean = np.mean(np.square(x.ref), -1, { keepdims: true });
    return x.div(np.sqrt(mean.add(shape.rms_norm_eps))).mul(norms[name].ref);
  };
  /** (n, in) → (n, out) @param {Adapted} lane @param {string} name @param {Tensor} x */
  const linear = ({ frozen, theta, scale }, name, x) => {
    const added = np.inner(np.inner(x.ref, theta[name].A.ref).mul(scale.ref), theta[name].B.ref);
    return np.inner(x, frozen[name].ref).add(added);
  };
  /** Rotate (rows, heads, width, size) by its positions. @param {Tensor} x */
  const rotated = (x) => {
    const a = x.ref.slice([], [], [], [0, half]);
    const b = x.slice([], [], [], [half, size]);
    const first = a.ref.mul(cos.ref).sub(b.ref.mul(sin.ref));
    return np.concatenate([first, b.mul(cos.ref).add(a.mul(sin.ref))], -1);
  };
  /** @param {Adapted} lane @param {string} block @param {Tensor} x */
  const attention = (lane, block, x) => {
    /** @param {string} kind @param {number} count @param {Tensor} x */
    const project = (kind, count, x) =>
      linear(lane, `${block}.self_attn.${kind}`, x)
        .reshape([rows, width, count, size])
        .transpose([0, 2, 1, 3]);
    const grouped = [rows, shared, (heads / shared) * width, size];
    const q = rotated(project("q_proj", heads, x.ref)).reshape(grouped);
    const k = rotated(project("k_proj", shared, x.ref));
    const v = project("v_proj", shared, x);
    const scores = np
      .matmul(q, k.transpose([0, 1, 3, 2]))
      .reshape([rows, shared, heads / shared, width, width])
      .mul(size ** -0.5)
      .add(mask.ref);
    const seen = nn.softmax(scores, -1).reshape([...grouped.slice(0, 3), width]);
    return np
      .matmul(seen, v)
      .reshape([rows, heads, width, size])
      .transpose([0, 2, 1, 3])
      .reshape([rows * width, heads * size]);
  };
  /** The last hidden states (n, d) at the picked positions. @param {Adapted} lane @param {Tensor} ids @param {Tensor} pick */
  const hidden = (lane, ids, pick) => {
    let x = np.take(embedding.ref, ids, 0);
    for (let l = 0; l < shape.num_hidden_layers; l++) {
      const block = `model.layers.${l}`;
      let a = attention(lane, block, normed(x.ref, `${block}.input_layernorm`));
      if (l === shape.num_hidden_layers - 1) {
        [x, a] = [np.matmul(pick.ref, x), np.matmul(pick.ref, a)]; // nothing later mixes positions
      }
      x = x.add(linear(lane, `${block}.self_attn.o_proj`, a));
      const h = normed(x.ref, `${block}.post_attention_layernorm`);
      const gate = nn.silu(linear(lane, `${block}.mlp.gate_proj`, h.ref));
      const inner = gate.mul(linear(lane, `${block}.mlp.up_proj`, h));
      x = x.add(linear(lane, `${block}.mlp.down_proj`, inner));
    }
    pick.dispose();
    return normed(x, "model.norm");
  };
  /** The logits (n, V) of hidden states (n, d). @param {Tensor} y */
  const logits = (y) => np.inner(y, embedding.ref);
  /**
   * Return the loss of each token (n), nats, of hidden states (n, d).
   *
   * @param {Tensor} y
   * @param {Tensor} targets
   */
  const tokenLosses = (y, targets) => {
    const right = y.ref.mul(np.take(embedding.ref, targets, 0)).sum(-1);
    return nn.logsumexp(logits(y), -1).sub(right);
  };
  /**
   * Return the loss of a batch, and its gradient by the hidden states (n, d). The library's own
   * gradient would compute the probabilities once for each of their d entries.
   *
   * @param {Tensor} y
   * @param {Tensor} targets
   * @param {Tensor} share
   */
  const lossAndGradient = (y, targets, share) => {
    const probability = nn.softmax(logits(y.ref), -1).mul(share.ref.reshape([-1, 1]));
    const right = np.take(embedding.ref, targets.ref, 0).mul(share.ref.reshape([-1, 1]));
    const gradient = np.matmul(probability, embedding.ref).sub(right);
    return { loss: tokenLosses(y, targets).mul(share).sum(), gradient };
  };
  return { names, hidden, logits, tokenLosses, lossAndGradient };
}
