// The slider that goes back through a race, and the replay button.
//
// Gradio runs this with `element`, `props`, `watch` and `trigger`; props.value is {run, steps, total, at,
// seconds}: steps so far, and those that there will be. While the reader holds the slider, or plays, updates of the page do not move it.
const slider = element.querySelector("input");
const from = element.querySelector(".from");
const to = element.querySelector(".to");
/** @type {HTMLButtonElement} */
const replay = element.querySelector(".replay");
const PLAY_SECONDS = 12; // a whole race, whatever its length
const NEWEST = 1e8; // also for a race that has advanced meanwhile
const PATIENCE = 1500; // ms after which a request without an answer is sent again
let held = false;
let playing = 0;
/** @type {string | null | undefined} */
let run = null;
/** @type {number | null} */
let wish = null; // the step that the reader chose, until the page shows it
let sent = 0; // when it was last requested; 0: answered

const done = () => Number(props.value?.steps ?? 0);

/** @param {number} step */
const ask = (step) => {
  const newest = step >= done();
  if (newest) slider.value = String(done());
  words(Math.min(step, done()));
  wish = newest ? Infinity : step; // the newest, however far the race is
  if (!sent) send();
};

// One request at a time: of many quick ones the last could be dropped, or answered first.
const send = () => {
  if (wish === null) return;
  sent = performance.now();
  trigger("select", { index: 0, value: Math.min(wish, NEWEST) });
};

const answered = () => {
  const { steps = 0, at = 0 } = props.value ?? {};
  sent = 0;
  if (wish !== null && at === Math.min(wish, steps)) wish = null;
  else send();
};
setInterval(() => sent && performance.now() - sent > PATIENCE && send(), 500);

/** @param {number} step */
const words = (step) => {
  const { steps = 0, total = steps, seconds = 0, at = 0 } = props.value ?? {};
  from.textContent = `step ${step}`;
  to.textContent = steps
    ? `${total}${step === at && seconds ? ` · ${seconds.toFixed(1)} s` : ""}`
    : "";
  slider.setAttribute("aria-valuetext", `step ${step} of ${steps}`);
};

const stop = () => {
  clearInterval(playing);
  playing = 0;
  replay.textContent = "▶";
  replay.setAttribute("aria-label", "Replay the race");
};

const play = () => {
  const steps = done();
  let at = Number(slider.value) >= steps ? 0 : Number(slider.value);
  const stride = Math.max(1, Math.round(steps / (PLAY_SECONDS * 4)));
  replay.textContent = "❚❚";
  replay.setAttribute("aria-label", "Pause the replay");
  playing = window.setInterval(
    () => {
      at = Math.min(at + stride, steps);
      slider.value = String(at);
      ask(at);
      if (at >= steps) stop();
    },
    Math.max(250, (1000 * PLAY_SECONDS * stride) / Math.max(steps, 1)),
  );
};

const show = () => {
  const { steps = 0, total = steps, at = 0 } = props.value ?? {};
  if (props.value?.run !== run) {
    run = props.value?.run;
    wish = null;
    sent = 0;
    stop();
  }
  slider.max = String(total);
  slider.disabled = replay.disabled = steps < 2;
  if (!held && !playing && wish === null) slider.value = String(at);
  words(Number(slider.value));
  answered();
};

slider.addEventListener("pointerdown", () => {
  held = true;
  stop();
});
for (const name of ["pointerup", "pointercancel", "blur"]) {
  slider.addEventListener(name, () => {
    held = false;
  });
}
slider.addEventListener("input", () => ask(Number(slider.value)));
replay.addEventListener("click", () => (playing ? stop() : play()));
watch("value", show);
show();
