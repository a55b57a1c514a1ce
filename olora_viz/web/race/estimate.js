// Asks again for the time beside Race as long as the server has not timed its first steps.
//
// Gradio runs this with `element` and `trigger`.
const EVERY = 1000; // ms

setInterval(() => {
  const asks = element.querySelector(".later") && !document.hidden && navigator.onLine;
  if (asks) trigger("select", { index: 0, value: "again" });
}, EVERY);
