// The list of a visit's runs. Gradio runs this with `element`, `props`, `watch` and `trigger`;
// props.value is a list of {id, name, pinned, overlaid, current, words, link}, props.longest the most
// characters of a name. The page itself holds the keys of the runs' readers alone: it may be saved,
// and its links copied.
const list = element.querySelector(".shelf");
const hint = element.querySelector(".hint");

/**
 * @typedef {object} Run
 * @property {string} id
 * @property {string} name
 * @property {boolean} pinned
 * @property {boolean} overlaid
 * @property {boolean} [removed]
 * @property {boolean} current
 * @property {string} words
 * @property {string} link
 */

/** @type {Map<string, Partial<Run>>} */
const edits = new Map(); // what the visitor changed in a run, until the server's list agrees

/** @type {string | null} */
let opening = null; // the run to show next

// shelf_asked.js reads it when an event is sent: one that waited has all that was pressed meanwhile.
Object.assign(list, {
  asked: () => {
    const open = opening;
    opening = null;
    return { open, edits: Object.fromEntries(edits) };
  },
});

const send = () => trigger("select", { index: 0, value: null });

/** @param {string} id @param {Partial<Run>} edit */
const change = (id, edit) => {
  edits.set(id, { ...edits.get(id), ...edit });
  send();
};

/** @param {string} id @param {Partial<Run>} edit */
const press = (id, edit) => {
  change(id, edit);
  show(); // at once
};

/** @param {string} id */
const open = (id) => {
  opening = id;
  send();
};

/** @param {Run} run @returns {Run} */
const edited = (run) => {
  const edit = edits.get(run.id) ?? {};
  const agreed = Object.entries(edit).every(
    ([key, value]) => run[/** @type {keyof Run} */ (key)] === value,
  );
  if (agreed) edits.delete(run.id);
  return { ...run, ...edit };
};

/** @param {string} text @param {string} title @param {boolean | null} pressed @param {() => void} act */
const button = (text, title, pressed, act) => {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "quiet";
  made.textContent = text;
  made.title = title;
  made.setAttribute("aria-label", title);
  if (pressed !== null) made.setAttribute("aria-pressed", String(pressed));
  made.addEventListener("click", act);
  return made;
};

/** @param {string} key @param {string} name */
const link = (key, name) => {
  const made = document.createElement("a");
  made.href = `?run=${encodeURIComponent(key)}`;
  made.target = "_blank";
  made.textContent = "link";
  made.title = `show ${name} to others: they can watch it but not control it`;
  made.setAttribute("aria-label", made.title);
  return made;
};

/** @param {Run} run */
const item = ({ id, name, pinned, overlaid, current, words, link: key }) => {
  const row = document.createElement("li");
  row.dataset.run = key;
  row.classList.toggle("current", current);
  const input = document.createElement("input");
  input.value = name;
  input.maxLength = props.longest;
  input.setAttribute("aria-label", `name of the run ${name}`);
  input.addEventListener("change", () => {
    const typed = input.value.split(/\s+/).filter(Boolean).join(" ");
    if (typed) change(id, { name: typed });
    else input.value = name;
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") input.blur();
  });
  const small = document.createElement("span");
  small.className = "hint";
  small.textContent = words;
  const tools = document.createElement("span");
  tools.className = "tools";
  tools.append(
    button("show", `show ${name}`, null, () => open(id)),
    button("overlay", `overlay ${name}`, overlaid, () => press(id, { overlaid: !overlaid })),
    button("pin", `pin ${name}`, pinned, () => press(id, { pinned: !pinned })),
    link(key, name),
    button("×", `remove ${name} from the list`, null, () => press(id, { removed: true })),
  );
  row.append(input, small, tools);
  return row;
};

const show = () => {
  /** @type {Run[]} */
  const runs = props.value ?? [];
  const rows = runs.map(edited).filter((run) => !run.removed);
  const focused = document.activeElement;
  const place = focused?.closest("li")?.dataset.run;
  const label = focused?.textContent;
  if (list.contains(focused) && focused?.tagName === "INPUT") return;
  list.replaceChildren(...rows.map(item));
  if (place) {
    const row = `li[data-run="${CSS.escape(place)}"]`;
    const again = /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll(`${row} button`));
    [...again].find((one) => one.textContent === label)?.focus();
  }
  hint.textContent = rows.length
    ? "Overlay a run to compare it with the one that is shown."
    : "Every race of this visit stays here, to reopen, name or compare.";
};
watch("value", show);
show();
