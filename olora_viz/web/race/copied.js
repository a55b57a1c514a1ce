// Says that a race is the same as one that was computed before, in the reader's own time; its buttons
// choose how fast it is shown, or compute it anew.
//
// Gradio runs this with `element`, `props`, `watch` and `trigger`; props.value is
// {before, when, after, speed, behind}, or {}.
const line = element.querySelector("p");
const speeds = element.querySelector(".speeds");

/** @param {string} when */
const isToday = (when) => new Date(when).toDateString() === new Date().toDateString();

/** @param {string} when */
const clock = (when) =>
  new Date(when).toLocaleString([], {
    ...(isToday(when) ? {} : { day: "numeric", month: "long" }),
    hour: "2-digit",
    minute: "2-digit",
  });

const show = () => {
  const { before = "", when = "", after = "", speed = "", behind = false } = props.value ?? {};
  line.replaceChildren(isToday(when) ? before : before.replace(/ at $/, " on ")); // on a day, at a time
  if (when) {
    const time = document.createElement("time");
    time.dateTime = when;
    time.textContent = clock(when);
    line.append(time, after);
  }
  speeds.hidden = !behind;
  for (const button of speeds.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.speed === speed));
  }
};

element.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("button");
  if (button) trigger("select", { index: 0, value: button.dataset.speed ?? "anew" });
});
watch("value", show);
show();
