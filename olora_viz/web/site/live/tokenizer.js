// The tokens of a text, by byte-pair encoding within words, and their text.

/** @typedef {import("./types").Vocabulary} Vocabulary */

const SPACE = "▁";

/** @param {Vocabulary} vocabulary */
export function tokenizerOf({ tokens, merges, special, end }) {
  const numbers = new Map(tokens.map((token, i) => [token, i]));
  const ranks = new Map(merges.map((pair, i) => [pair, i]));
  const unknown = numbers.get("<unk>") ?? 0;

  /** @param {string} word */
  function piecesOf(word) {
    const pieces = [...word];
    for (;;) {
      let [best, at] = [Infinity, -1];
      for (let i = 0; i + 1 < pieces.length; i++) {
        const rank = ranks.get(`${pieces[i]} ${pieces[i + 1]}`) ?? Infinity;
        if (rank < best) [best, at] = [rank, i];
      }
      if (at < 0) return pieces;
      pieces.splice(at, 2, pieces[at] + pieces[at + 1]);
    }
  }

  /** The pieces of a text. @param {string} text @returns {string[]} */
  const split = (text) => {
    const words = text.normalize("NFC").replaceAll(" ", SPACE);
    return (words.match(/\n|▁*[^▁\n]+|▁+/gu) ?? []).flatMap(piecesOf);
  };
  /** @param {string} piece */
  const numberOf = (piece) => numbers.get(piece) ?? unknown;

  return {
    /** @param {string} text */
    encode: (text) => split(text).map(numberOf),
    /** The number of the first token that reaches into the answer, the tokens of both, and the end. @param {string} prompt @param {string} answer */
    example: (prompt, answer) => {
      const pieces = split(prompt + answer);
      const border = prompt.normalize("NFC").length;
      let length = 0;
      const first = pieces.findIndex((piece) => (length += piece.length) > border);
      return [Math.max(1, first), ...pieces.map(numberOf), end];
    },
    /** @param {ArrayLike<number>} read */
    decode: (read) =>
      Array.from(read, (number) => tokens[number])
        .filter((token) => !special.includes(token))
        .join("")
        .replaceAll(SPACE, " "),
  };
}
