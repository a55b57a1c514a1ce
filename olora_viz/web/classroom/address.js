// What an address says of a class. No page is needed here.

/** Whether an address asks for class mode: class=1, or projector=1 beside a class's name. @param {string} search */
export const projects = (search) => {
  const query = new URLSearchParams(search);
  return query.get("class") === "1" || query.get("projector") === "1";
};

const LONGEST = 24; // characters of a name, as in votes.py

/** Return the name of the class of an address; empty without one that a class may have. @param {string} search */
export const className = (search) => {
  const name = (new URLSearchParams(search).get("class") ?? "").toLowerCase();
  return /^[a-z][a-z0-9-]{2,23}$/.test(name) ? name : "";
};

/**
 * Return the name of a class for what a teacher typed: year-9 for "Year 9", class-9b for "9b"; empty without a
 * letter or a digit.
 *
 * @param {string} typed
 */
export const nameOf = (typed) => {
  const words = typed.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const name = words.replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
  const long = /^[a-z].{2}|^$/.test(name) ? name : `class-${name}`;
  return long.slice(0, LONGEST).replace(/-$/, "");
};

/**
 * Return the query in class mode, or without it; a class stays.
 *
 * @param {string} search
 * @param {boolean} on
 */
export const projected = (search, on) => {
  const query = new URLSearchParams(search);
  query.delete("projector");
  if (query.get("class") === "1") query.delete("class");
  if (on) query.set(className(search) ? "projector" : "class", "1");
  return readable(query);
};

/** Return the query for others: in the class, and not on a projector. @param {string} search */
export const forOthers = (search) => {
  const query = new URLSearchParams(search);
  query.delete("projector");
  return readable(query);
};

/** Return a query as the address bar shows it. @param {URLSearchParams} query */
export const readable = (query) =>
  query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":").replaceAll("%3D", "=");
