// Sets the last input of an event: is the card of gradients in view?
/** @param {any[]} values of the event's inputs */
(...values) => {
  const box = document.querySelector("#run-gradients")?.getBoundingClientRect();
  values[values.length - 1] = !!box?.width && box.bottom > -200 && box.top < innerHeight + 200;
  return values;
};
