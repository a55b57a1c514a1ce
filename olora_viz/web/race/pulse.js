// Starts the page's stream on request, and restarts it when it has been silent for too long.
//
// Gradio runs this with `props`, `watch` and `trigger`; props.value is {again} or {going, beat}.
const LOST = 7000; // ms without a message after which an active stream is lost
let heard = performance.now();
/** @type {unknown} */
let asked = null;

const follow = () => {
  heard = performance.now();
  // In the next task, when everything that came with this value is on the page.
  setTimeout(() => trigger("select", { index: 0, value: "follow" }));
};

watch("value", () => {
  heard = performance.now();
  const { again } = props.value ?? {};
  if (!again || again === asked) return;
  asked = again;
  follow();
});
setInterval(() => {
  const going = props.value?.going || props.value?.again;
  if (going && performance.now() - heard >= LOST && navigator.onLine) follow();
}, 1000);
