// Starts the page's stream on request, restarts it when it has been silent for too long, and says
// when the server does not answer or no longer has the race.
//
// Gradio runs this with `element`, `props`, `watch` and `trigger`; props.value is {again}, {gone} or
// {going, beat}.
import { holdEarly } from "./early.js";

const LOST = 7000; // ms without a message after which an active stream is lost
// They race or measure the set-up, or change it.
const OF_SET_UP =
  "#race-button, #step-button, #decide-button, #claims-button, #measure-button, #presets button";
const line = element.querySelector("p");
let heard = performance.now(); // the latest message, or the latest request for one
let answered = heard; // the latest message
/** @type {unknown} */
let asked = null;
let pressEarly = holdEarly(OF_SET_UP);

const follow = () => {
  heard = performance.now();
  // In the next task, when what came with this value is on the page too.
  setTimeout(() => trigger("select", { index: 0, value: "follow" }));
};

/** @param {string} sentence */
const say = (sentence) => {
  if (line.textContent !== sentence) line.textContent = sentence;
  line.hidden = !sentence;
};

watch("value", () => {
  heard = answered = performance.now();
  const { again, gone = "" } = props.value ?? {};
  say(gone);
  if (!again || again === asked) return;
  asked = again;
  follow();
  setTimeout(pressEarly);
  pressEarly = () => undefined;
});
setInterval(() => {
  const going = props.value?.going || props.value?.again;
  if (!going || performance.now() - heard < LOST) return;
  if (performance.now() - answered > LOST) say(props.outage);
  if (navigator.onLine) follow();
}, 1000);
