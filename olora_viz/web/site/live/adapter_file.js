// A trained lane as the files of an adapter that PEFT loads on the untouched base model, in a zip.

import { crc32 } from "./random.js";

/** @typedef {import("./types").Lane} Lane */
/** @typedef {import("./types").Result} Result */

/**
 * Return the zip. The base model that a start has changed is unchanged for its reader: the adapter has
 * the rank 2r, with B = (B, −B⁰) and A = (A; A⁰), where the start is not zero.
 *
 * @param {Result} result
 * @param {Lane} lane
 */
export function adapterFile({ now, start, scale }, { r }) {
  const layers = Object.keys(now);
  const isZero = layers.every((name) => start[name].B.every((value) => value === 0));
  const rank = isZero ? r : 2 * r;
  /** @type {Record<string, { shape: number[], values: Float32Array }>} */
  const tensors = {};
  for (const name of layers) {
    const [A, B] = [now[name].A, now[name].B];
    const [columns, rows] = [A.length / r, B.length / r];
    const wide = new Float32Array(rank * columns);
    const high = new Float32Array(rows * rank);
    wide.set(A);
    if (!isZero) wide.set(start[name].A, A.length);
    for (let i = 0; i < rows; i++)
      for (let k = 0; k < r; k++) {
        high[i * rank + k] = B[i * r + k];
        if (!isZero) high[i * rank + r + k] = -start[name].B[i * r + k];
      }
    const place = `base_model.model.${name}`;
    tensors[`${place}.lora_A.weight`] = { shape: [rank, columns], values: wide };
    tensors[`${place}.lora_B.weight`] = { shape: [rows, rank], values: high };
  }
  const config = {
    ...{ peft_type: "LORA", task_type: "CAUSAL_LM", r: rank, lora_alpha: scale * rank },
    ...{ target_modules: layers, lora_dropout: 0, bias: "none", inference_mode: true },
    base_model_name_or_path: "glassllm",
  };
  return zipped({
    "adapter_config.json": new TextEncoder().encode(JSON.stringify(config, null, 1)),
    "adapter_model.safetensors": safetensors(tensors),
  });
}

/** @param {Record<string, { shape: number[], values: Float32Array }>} tensors */
function safetensors(tensors) {
  let end = 0;
  const head = Object.fromEntries(
    Object.entries(tensors).map(([name, { shape, values }]) => {
      const from = end;
      end += values.byteLength;
      return [name, { dtype: "F32", shape, data_offsets: [from, end] }];
    }),
  );
  const text = JSON.stringify({ __metadata__: { format: "pt" }, ...head });
  const header = new TextEncoder().encode(text.padEnd(8 * Math.ceil(text.length / 8)));
  const bytes = new Uint8Array(8 + header.length + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, 8);
  let at = 8 + header.length;
  for (const { values } of Object.values(tensors)) {
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
    at += values.byteLength;
  }
  return bytes;
}

/** Return files as a zip, not compressed. @param {Record<string, Uint8Array>} files */
function zipped(files) {
  const parts = [];
  const directory = [];
  let at = 0;
  for (const [name, bytes] of Object.entries(files)) {
    const title = new TextEncoder().encode(name);
    const [crc, size] = [crc32(bytes) >>> 0, bytes.length];
    // version, flags, method, time, date (1980-01-01), CRC, sizes, length of the name, of the rest
    const common = [
      [20, 2],
      [0, 2],
      [0, 2],
      [0, 2],
      [33, 2],
      [crc, 4],
      [size, 4],
      [size, 4],
      [title.length, 2],
      [0, 2],
    ];
    const local = [numbers([[0x04034b50, 4], ...common]), title, bytes];
    const rest = [
      [0, 2],
      [0, 2],
      [0, 2],
      [0, 4],
      [at, 4],
    ];
    directory.push(numbers([[0x02014b50, 4], [20, 2], ...common, ...rest]), title);
    parts.push(...local);
    at += local.reduce((sum, part) => sum + part.length, 0);
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = Object.keys(files).length;
  const end = [
    [0x06054b50, 4],
    [0, 2],
    [0, 2],
    [count, 2],
    [count, 2],
    [size, 4],
    [at, 4],
    [0, 2],
  ];
  return joined([...parts, ...directory, numbers(end)]);
}

/** Whole numbers as bytes, the lowest first. @param {number[][]} each number and bytes */
function numbers(each) {
  return Uint8Array.from(
    each.flatMap(([value, bytes]) =>
      Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) % 256),
    ),
  );
}

/** @param {Uint8Array[]} parts */
function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
