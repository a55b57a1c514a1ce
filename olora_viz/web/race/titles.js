// Gives buttons of Gradio, which have none, their tooltips.
//
// Gradio runs this with `props`; props.titles has a sentence for every id.
for (const [id, title] of Object.entries(props.titles)) {
  document.getElementById(id)?.setAttribute("title", title);
}
