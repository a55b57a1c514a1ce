// The id of what this tab shows, kept across reloads.
//
// Gradio runs this with `element`, `props` and `watch`; props.value is the id. While it is held, the
// browser holds a lock with its name, which tells a new tab what is shown already; see share_link.py.
/** @type {() => void} */
let release = () => {};

const keep = () => {
  const id = props.value ?? "";
  sessionStorage.setItem(props.storage, id);
  release();
  release = () => {};
  if (id) {
    const released = new Promise((resolve) => {
      release = () => resolve(undefined);
    });
    navigator.locks
      ?.request(`olora-viz ${id}`, { mode: "shared" }, () => released)
      .catch(() => undefined); // denied in some frames
  }
};
watch("value", keep);
