// Elements of drawings, and numbers in words.

/**
 * Append a new element to a drawing.
 *
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Element} parent
 * @param {Tag} tag
 * @param {Record<string, string | number>} [attributes]
 * @returns {SVGElementTagNameMap[Tag]}
 */
export function shape(parent, tag, attributes = {}) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(node, attributes);
  parent.append(node);
  return node;
}

/**
 * @param {Element} node
 * @param {Record<string, string | number>} attributes
 */
export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, `${value}`);
}

/**
 * Write a number with at most some decimals.
 *
 * @param {number} value
 * @param {number} [decimals]
 */
export function short(value, decimals = 2) {
  return `${Number(value.toFixed(decimals)) + 0}`.replace("-", "−");
}
