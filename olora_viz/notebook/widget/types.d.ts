// What a panel's front end is made of.

import type { Model } from "../../figures/live/jupyter/tools.js";
import type { Change } from "../../figures/live/jupyter/change.js";
import type { Packed, Palette } from "../../figures/live/types.d.ts";
import type { Mark, Row } from "../../figures/live/lane_table.js";

/** A part of a panel, as tree.py describes it. */
export interface Node {
  kind: string;
  name?: string;
  label?: string;
  title?: string;
  class?: string;
  type?: string;
  items?: Node[];
  /** A lane with the default values, as a row of the table. */
  blank?: Record<string, any>;
  starts?: Record<string, string>;
  meanings?: Record<string, string>;
  most?: number;
}

/** The state of a control. */
export interface State {
  value?: any;
  label?: string;
  disabled?: boolean;
  hidden?: boolean;
  open?: boolean;
  /** Words and value of each choice, and what a tooltip says of it. */
  options?: [string, any, string?][];
  min?: number;
  max?: number;
}

export interface Message {
  tree?: Node;
  values?: Record<string, any>;
  charts?: Record<string, { whole?: Packed; change?: Change }>;
  palette?: Palette;
  serial?: number;
  marks?: Mark[];
  turn?: string;
}

/** A mounted part: it shows a new value. */
export interface Part {
  node: HTMLElement;
  show?(value: any): void;
  /** A chart has changed. */
  draw?(name: string): void;
  destroy?(): void;
}

/** What parts use of their panel. */
export interface Panel {
  model: Model;
  palette: Palette;
  send(message: object): void;
  /** Tell the kernel what the reader chose. */
  set(name: string, value: any): void;
  /** Request the marks of the lanes in the table. */
  marks(rows: Row[]): Promise<Mark[]>;
  chart(name: string): Packed | undefined;
}
