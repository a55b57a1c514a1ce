// The table of lanes: a row each, edited in place.
//
//   mount(element, { rows, starts, seen, changed })
//
// `rows` is a list of {init, r, alpha, lr, seed}; `starts` maps an initialization's name to its
// label; `seen(rows)` promises, for every row, its mark {init, dash} and what is wrong with it;
// `changed(rows)` hears of every edit.

const FIELDS = [
  ["r", "r", "rank", "numeric"],
  ["alpha", "α", "alpha", "numeric"],
  ["lr", "rate", "learning rate", "text"],
  ["seed", "seed", "seed of the start and of the order of batches", "numeric"],
];

export function mount(element, { rows, starts, most, seen, changed }) {
  let lanes = rows.map((row) => ({ ...row }));
  let asked = 0;

  const table = node("table", { className: "lanes" });
  for (const name of ["mark-column", "", "short", "short", "rate", "short", "remove-column"]) {
    table.append(node("col", { className: name }));
  }
  const head = table.createTHead().insertRow();
  head.append(header("", "lane"), header("start", "how the adapter starts"));
  for (const [, title, words] of FIELDS) head.append(header(title, words));
  head.append(header("", "remove"));
  const body = table.createTBody();
  const problem = node("p", { className: "problem", hidden: true });
  problem.setAttribute("role", "alert");
  const add = node("button", { type: "button", className: "quiet", textContent: "+ lane" });
  add.addEventListener("click", () => {
    const used = lanes.map((lane) => lane.init);
    const init = Object.keys(starts).find((name) => !used.includes(name)) ?? "olora";
    lanes.push({ init, r: lanes.at(-1)?.r ?? 8, alpha: "", lr: "1e-3", seed: 0 });
    build();
    tell();
    body.rows[lanes.length - 1].querySelector("select").focus();
  });
  const frame = node("div", { className: "lanes-frame" });
  frame.append(table);
  element.replaceChildren(frame, problem, add);
  build();
  look();
  return { replace };

  // Show other rows, those of a race that another page began.
  function replace(others) {
    lanes = others.map((row) => ({ ...row }));
    build();
    look();
  }

  function build() {
    body.replaceChildren(...lanes.map(line));
    add.disabled = lanes.length >= most;
  }

  function line(lane, i) {
    const row = node("tr");
    const select = node("select", { ariaLabel: `start of lane ${i + 1}` });
    for (const [name, label] of Object.entries(starts)) {
      select.append(new Option(label, name, false, name === lane.init));
    }
    select.addEventListener("change", () => edit(i, "init", select.value));
    row.append(cell(node("span", { className: "mark" })), cell(select));
    for (const [key, , words, mode] of FIELDS) {
      const input = node("input", {
        value: lane[key] ?? "",
        inputMode: mode,
        autocomplete: "off",
        spellcheck: false,
        ariaLabel: `${words}, lane ${i + 1}`,
        className: key,
      });
      if (key === "alpha") Object.assign(input, { placeholder: lane.r, title: "empty: the rank" });
      input.addEventListener("input", () => edit(i, key, input.value.trim()));
      input.addEventListener("focus", () => input.select());
      row.append(cell(input));
    }
    const remove = node("button", {
      type: "button",
      className: "remove",
      textContent: "×",
      title: "remove",
      ariaLabel: `remove lane ${i + 1}`,
      disabled: lanes.length === 1,
    });
    remove.addEventListener("click", () => {
      lanes.splice(i, 1);
      build();
      tell();
      body.rows[Math.min(i, lanes.length - 1)].querySelector(".remove").focus();
    });
    row.append(cell(remove));
    return row;
  }

  function edit(i, key, value) {
    lanes[i] = { ...lanes[i], [key]: value };
    if (key === "r") body.rows[i].querySelector(".alpha").placeholder = value;
    tell();
  }

  function tell() {
    changed(lanes.map((lane) => ({ ...lane })));
    look();
  }

  // Ask how the lanes look and what is wrong; an answer that comes late is dropped.
  async function look() {
    const turn = ++asked;
    await new Promise((resolve) => setTimeout(resolve, 60));
    if (turn !== asked) return;
    const found = await seen(lanes);
    if (turn !== asked) return;
    found.forEach(({ init, dash, wrong }, i) => {
      const row = body.rows[i];
      const mark = row.querySelector(".mark");
      mark.className = `mark ${dash}`;
      mark.style.setProperty("--lane", `var(--${init})`);
      row.classList.toggle("wrong", Boolean(wrong));
    });
    const first = found.findIndex(({ wrong }) => wrong);
    problem.hidden = first < 0;
    problem.textContent = first < 0 ? "" : `Lane ${first + 1}: ${found[first].wrong}.`;
  }
}

function node(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}

function cell(child) {
  const td = node("td");
  td.append(child);
  return td;
}

function header(text, title) {
  return node("th", { scope: "col", textContent: text, title });
}
