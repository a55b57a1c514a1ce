// Class mode: larger text and lines and fewer cards, for a projector. The address keeps it.
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
  const query = new URLSearchParams(window.location.search);
  if (on) query.set("class", "1");
  else query.delete("class");
  const text = query
    .toString()
    .replaceAll("%2C", ",")
    .replaceAll("%3A", ":")
    .replaceAll("%3D", "=");
  write(text);
});
set(new URLSearchParams(window.location.search).get("class") === "1");
