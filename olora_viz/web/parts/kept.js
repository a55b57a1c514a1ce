// What a browser keeps of the page: nothing where it denies that, or is full.

/** @typedef {"localStorage" | "sessionStorage"} Place of all tabs, or of one */

/** @param {Place} place @param {string} key */
export function recall(place, key) {
  try {
    return window[place].getItem(key);
  } catch {
    return null;
  }
}

/** @param {Place} place @param {string} key @param {string} text */
export function keep(place, key, text) {
  try {
    window[place].setItem(key, text);
  } catch {
    // it stays as it was
  }
}
