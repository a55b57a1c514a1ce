// Inside the adapters, in a panel.

/** @import { Inside } from "../../figures/live/adapter.js" */
/** @import { Part } from "./types.d.ts" */

import { mount } from "../../figures/live/adapter.js";

/** @returns {Part} */
export function inside() {
  const node = document.createElement("div");
  const { show, destroy } = mount(node);
  return {
    node,
    /** @param {Inside | ""} value empty before there is one */
    show: (value) => value && show(value),
    destroy,
  };
}
