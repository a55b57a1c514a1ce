// Sets the first input of an event: is the card of gradients in view?
/** @param {unknown} _ @param {any[]} others the event's other inputs */
(_, ...others) => {
  const box = document.querySelector("#run-gradients")?.getBoundingClientRect();
  return [!!box?.width && box.bottom > -200 && box.top < innerHeight + 200, ...others];
};
