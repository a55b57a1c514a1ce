// Waits for elements that Gradio adds to the page after the script that names them.

const PAUSE = 100; // milliseconds
const TRIES = 300;

/**
 * Call a function with each element and its words, as soon as the element is there.
 *
 * @param {Record<string, string>} words by the element's id
 * @param {(element: HTMLElement, words: string) => void} give
 */
export function whenThere(words, give) {
  let left = Object.entries(words);
  let tries = TRIES;
  const look = () => {
    left = left.filter(([id, its]) => {
      const found = document.getElementById(id);
      if (found) give(found, its);
      return !found;
    });
    tries -= 1;
    if (left.length && tries) setTimeout(look, PAUSE);
  };
  look();
}
