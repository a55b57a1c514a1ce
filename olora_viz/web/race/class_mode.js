// Class mode: larger text and lines and fewer cards, for a projector. The address keeps it.
import { projected, projects } from "../classroom/address.js";
import { write } from "../parts/address.js";

const root = document.documentElement;
const button = /** @type {HTMLButtonElement} */ (element.querySelector("button"));

/** @param {boolean} on */
const set = (on) => {
  if (on) root.dataset.class = "1";
  else delete root.dataset.class;
  button.setAttribute("aria-pressed", `${on}`);
};

button.addEventListener("click", () => {
  const on = !root.dataset.class;
  set(on);
  write(projected(window.location.search, on));
});
set(projects(window.location.search));
