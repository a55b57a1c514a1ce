// Class mode: larger text and lines and fewer cards, for a projector. The address keeps it.
import { get, set } from "../../figures/live/store.js";
import { projected, projects } from "../classroom/address.js";
import { write } from "../parts/address.js";

const button = /** @type {HTMLButtonElement} */ (element.querySelector("button"));

/** @param {boolean} on */
const turn = (on) => {
  set({ class: on });
  button.setAttribute("aria-pressed", `${on}`);
};

button.addEventListener("click", () => {
  const on = !get("class");
  write(projected(window.location.search, on));
  turn(on);
});
turn(projects(window.location.search));
