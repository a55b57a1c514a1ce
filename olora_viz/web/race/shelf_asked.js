// Sets the first input of an event: what the list of runs asks for, see shelf.js.
/** @param {any[]} values of the event's inputs */
(...values) => {
  const list = /** @type {any} */ (document.querySelector("ol.shelf"));
  values[0] = list?.asked?.() ?? null;
  return values;
};
