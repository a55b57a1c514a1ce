// Sets the accessible names of the icon buttons.
//
// Gradio runs this with `props`; props.names has a name for every id.
for (const [id, name] of Object.entries(props.names)) {
  const button = document.getElementById(id);
  button?.setAttribute("aria-label", name);
  button?.setAttribute("title", name);
}
