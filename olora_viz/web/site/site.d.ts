// What `script` of write.py puts before the pages' script.

declare const palette: import("../../figures/live/types.d.ts").Palette;
/** `race/scrubber.js` with what Gradio would pass to it. */
declare const scrubber: (
  element: HTMLElement,
  props: Record<string, any>,
  watch: (name: string, changed: () => void) => void,
  trigger: (event: string, data: { index: number; value: any }) => void,
) => void;
/** `race/bet.js` with its card's place. */
declare const bets: (element: HTMLElement) => void;
/** `race/view.js` with the place of its button. */
declare const views: (element: Element) => void;
