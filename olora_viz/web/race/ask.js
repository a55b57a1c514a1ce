// The field for a prompt of one's own: shown where the page's run can be asked, see ask.py.
//
// Gradio runs this with `element`, `props`, `trigger` and `watch`.
const show = () => element.toggleAttribute("hidden", !props.value);
show();
watch("value", show);

element.addEventListener("submit", (event) => {
  event.preventDefault();
  const prompt = element.querySelector("input").value;
  if (prompt.trim()) trigger("select", { index: 0, value: prompt });
});
