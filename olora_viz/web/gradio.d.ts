// What Gradio passes to the script of a component (`js_on_load`). Its HTML is ours, so the elements
// that the script looks up exist.

interface ComponentElement extends Omit<HTMLElement, "querySelector"> {
  querySelector<Tag extends keyof HTMLElementTagNameMap>(tag: Tag): HTMLElementTagNameMap[Tag];
  querySelector<Found extends HTMLElement = HTMLElement>(selector: string): Found;
}

declare const element: ComponentElement;
/** The component's value and its other properties. */
declare const props: Record<string, any>;
/** The addresses of files that the script needs, below the page's root; see serving.py. */
declare const files: Record<string, string>;
/** The server functions of the component, by name. */
declare const server: Record<string, (...values: any[]) => Promise<any>>;
/** Call a function whenever a property has changed. */
declare function watch(name: string, changed: () => void): void;
/** Send an event to the server. */
declare function trigger(event: string, data: { index: number; value: any }): void;

interface Window {
  gradio_config: { root: string };
}
