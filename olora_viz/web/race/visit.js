// The runs of a browser: one list for all of its tabs, which is kept when they are closed.
//
// Gradio runs this with `element`, `props` and `watch`; props.value is the list, which arrive.js reads
// when the page is opened. What another tab writes is read at once: no tab overwrites it.
watch("value", () => localStorage.setItem(props.storage, JSON.stringify(props.value)));
window.addEventListener("storage", ({ key, newValue }) => {
  if (key === props.storage) props.value = JSON.parse(newValue ?? "[]");
});
