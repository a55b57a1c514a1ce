// Types shared by the chart's modules, and the part of Plotly's public API that they use. Anything
// else of Plotly is a type error.

/** Colours by token. */
export type Colors = Record<string, string>;
export type Palette = { light: Colors; dark: Colors };
export type Numbers = (number | null)[];

/** A figure as packing.py sends it: strings only. */
export interface Packed {
  data: PackedTrace[];
  layout: Record<string, string>;
}
export interface PackedTrace {
  /** Everything except the points, as JSON. */
  trace: string;
  /** "1.5,2,,3": an empty field is null. */
  x?: string;
  y?: string;
}

/** A figure, unpacked: its points are still text and its colours "@token". */
export interface Value {
  data: TextTrace[];
  layout: Layout & { meta: Meta };
}

interface TraceBase {
  type?: string;
  name?: string;
  /** "raw" behind a "smooth" curve, "out" for the cross of a lane that has diverged. */
  meta?: string;
  /** The lane. */
  legendgroup?: string;
  visible?: Visible;
  x0?: number;
  dx?: number;
  z?: Numbers[];
  customdata?: Numbers[];
  [key: string]: unknown;
}
export interface TextTrace extends TraceBase {
  x?: string | (number | string | null)[];
  y?: string | (number | string | null)[];
}
export interface Trace extends TraceBase {
  x?: any[];
  y?: any[];
}
export type Visible = boolean | "legendonly";

/** The text around a chart, and data for the chart's modules. */
export interface Meta {
  title: string;
  unit: string;
  badge: string;
  message: string;
  /** How to read it; shown when the reader asks. */
  how?: string;
  /** Of the plot area, in pixels. */
  height: number;
  /** Name of the horizontal axis; charts of one race whose `x` is "step" show the same step. */
  x?: string;
  /** Charts of the same race hide lanes together; by default the layout's uirevision. */
  race?: string;
  /** The steps of a map's columns. */
  steps?: number[];
  columns?: (number | string)[];
  /** Names of a map's cells, [y][x]. */
  names?: (string | null)[][];
  /** Names of a map's rows, by their label. */
  rows?: Record<string, string>;
  /** Weight of the past in the average that the traces "smooth" show. */
  smoothing?: number;
  /** Lanes that a lane on the chart is made of. */
  members?: Record<string, string[]>;
  /** The runs behind a curve of rates. */
  recall?: Recall;
}
/** What the handle on the axis of rates shows in the charts of a race. */
export interface Recall {
  race: string;
  curves: { label: string; best: number; rates: number[]; words: string[]; lanes: string[][] }[];
}

export interface Axis {
  type?: string;
  title?: { text?: string };
  range?: number[];
  tickvals?: number[];
  ticktext?: string[];
  tickformat?: string;
  nticks?: number;
  showspikes?: boolean;
  unifiedhovertitle?: { text: string };
}
export interface Annotation {
  /** "end " or "out ", then the lane: the label at the end of its curve. */
  name?: string;
  text: string;
  x: number;
  y: number;
  yref?: string;
  xshift?: number;
  yshift?: number;
  font: { size?: number; color?: string };
  opacity?: number;
  visible?: boolean;
  captureevents?: boolean;
}
export interface Layout {
  xaxis: Axis;
  yaxis: Axis;
  margin: { l: number; r: number; t: number; b: number; autoexpand?: boolean };
  uirevision: string;
  annotations?: Annotation[];
  width?: number;
  height?: number;
  dragmode?: string | false;
  font?: { color?: string };
  shapes?: object[];
  [key: string]: unknown;
}
/** A layout that was fitted into its element. */
export type Fitted = Layout & { width: number; height: number };

/** The element that Plotly draws in. */
export interface PlotElement extends HTMLElement {
  data: Trace[];
  layout: Fitted;
  on<Name extends keyof PlotEvents>(name: Name, handler: (event: PlotEvents[Name]) => void): void;
}
export interface PlotEvents {
  plotly_relayout: Record<string, unknown>;
  plotly_restyle: [Record<string, unknown>, number[]];
  plotly_doubleclick: void;
  plotly_hover: { points: { x: any; y: any }[] };
  plotly_unhover: unknown;
  plotly_click: { points: { x: any; y: any }[] };
  plotly_clickannotation: { annotation: Annotation };
}
export interface PlotlyApi {
  react(plot: HTMLElement, data: Trace[], layout: object, config: object): Promise<unknown>;
  purge(plot: HTMLElement): void;
  toImage(figure: { data: Trace[]; layout: object }, options: object): Promise<string>;
  Fx: { hover(plot: HTMLElement, at: { xval: number }): void; unhover(plot: HTMLElement): void };
  Icons: Record<string, object>;
}

/** A chart as the menu at its head sees it. */
export interface Chart {
  plot: PlotElement;
  palette: Palette;
  /** The colours in use. */
  colors(): Colors;
  value(): Value;
  /** The newest value, as received. */
  given(): Packed;
  Plotly(): PlotlyApi;
}
export type Menu = (head: HTMLElement, chart: Chart) => SaveMenu;
export interface SaveMenu {
  show(meta: Meta, hasPoints: boolean): void;
  destroy(): void;
}
/** URLs of plotly.min.js and of figure.js in one file. */
export interface Sources {
  plotly: string;
  module: string;
}

declare global {
  interface Window {
    Plotly?: PlotlyApi;
    oloraVizStore?: import("./store.js").Store;
  }
}
