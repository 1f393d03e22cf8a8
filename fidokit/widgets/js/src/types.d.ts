// What goes between the modules, and between the kernel and them.

/** Bytes as a trait or a message brings them. */
export type Bytes = ArrayBufferView | ArrayBuffer;

/** Left, top, right and bottom, in shares of a photograph's sides. */
export type Window = [number, number, number, number];

/** A mask's values as bytes, row by row. */
export interface Mask {
  height: number;
  width: number;
  values: Uint8Array | Uint8ClampedArray;
}

/** A photograph as the kernel sends it; all of it is missing where there is none. */
export interface SentPhotograph {
  data?: Bytes;
  type?: string;
  width?: number;
  height?: number;
  window?: Window;
  reason?: string;
  /** What there is to say of what the classifier does not see. */
  unseen?: string;
  /** Of a small photograph, the part that its masks are shown on. */
  part?: Window;
}

/** A photograph that can be drawn: its size is that of the original, its bitmap may be smaller. */
export interface Photograph {
  bitmap: ImageBitmap;
  width: number;
  height: number;
  /** Where the classifier's input lies. */
  window: Window;
}

/** A photograph on the overlay; another one has another version. */
export interface VersionedPhotograph extends Photograph {
  version: number;
}

/** A mask as the kernel sends it. */
export interface SentLayer {
  name: string;
  height: number;
  width: number;
  data: Bytes;
  /** What its view opens on: x, y and zoom of a `View`. */
  view?: [number, number, number];
  /** What its scores say of it. */
  verdict?: string;
}

/** A mask in a small picture. */
export interface SmallLayer extends Mask {
  /** What its colours are drawn on. */
  small?: HTMLCanvasElement;
}

/** A mask on the overlay, and what was made of it; what is null is made when it is needed. */
export interface Layer extends SmallLayer {
  name: string;
  view: [number, number, number] | undefined;
  verdict: string;
  version: number;
  /** The mask at the resolution that its colours are computed at. */
  fine: Mask | null;
  surface: HTMLCanvasElement;
  painted: HTMLCanvasElement | null;
  line: Path2D | null;
  input: HTMLInputElement;
  thumbnail: HTMLCanvasElement;
}

/** A small picture of a photograph, with its masks by name; the reason says why there is no photograph. */
export interface Picture {
  photograph: Photograph | null;
  /** The part of it that the masks are shown on, larger; null for all of it. */
  near: Photograph | null;
  part: Window | null;
  unseen: string;
  layers: Map<string, SmallLayer & { near: boolean }>;
  reason: string;
}

/** What is seen of a picture: its centre in shares of the picture, and how many times it is enlarged. */
export interface View {
  zoom: number;
  x: number;
  y: number;
}

/** Whether an answer is right. */
export type Verdict = "right" | "wrong" | "not judged";

/** A message to the kernel. */
export type Send = (message: Record<string, unknown>, buffers?: ArrayBuffer[]) => void;

/** A widget's model: its traits by name, and messages. */
export interface Model<Traits> {
  get<Name extends keyof Traits>(name: Name): Traits[Name];
  set<Name extends keyof Traits>(name: Name, value: Traits[Name], options?: { silent: boolean }): void;
  send(content: unknown, callbacks?: undefined, buffers?: ArrayBuffer[]): void;
  on(event: string, act: Listener): void;
  off(event: string, act: Listener): void;
}

/** Called with nothing when a trait has changed, and with content and buffers when a message has come. */
// biome-ignore lint/suspicious/noExplicitAny: every kind of message has a content of its own
export type Listener = (content: any, buffers: DataView[]) => void;

/** A widget's view. */
export interface Rendered<Traits> {
  model: Model<Traits>;
  el: HTMLElement;
}

/** What is used of plotly.js. */
export interface Plotly {
  react(place: HTMLElement, data: unknown, layout: object, config: object): Promise<unknown>;
  purge(place: HTMLElement): void;
  Plots: { resize(place: HTMLElement): void };
}

/** Numbers of a cluster, as in `errors.clusters`, and its words. */
export interface Cluster {
  cluster: number;
  name: string;
  systematic: boolean;
  verdict: string;
  words: string;
  properties: string;
  sentence: string;
  pairs: string;
  proof: string;
  true_class: string;
  predicted_class: string;
  n_errors: number;
  size: number;
  expected_rate: number | null;
  p_value: number | null;
  q_value: number | null;
  holdout_n_errors: number | null;
  holdout_size: number | null;
  holdout_error_rate: number | null;
  holdout_p: number | null;
  stability: number | null;
  effect: number | null;
  effect_low: number | null;
  effect_high: number | null;
  effect_p: number | null;
}

/** What changing the pixels of one image did. */
export interface Change {
  image_id: string;
  label: string;
  before: string;
  after: string;
  turned_right: boolean;
}

/** A method's settings as a form, as `fidokit.widgets.forms.method_form` describes it. */
export interface MethodForm {
  name: string;
  summary: string;
  fields: FormField[];
  presets: Record<string, Record<string, string | boolean>>;
}

export interface FormField {
  name: string;
  kind: "number" | "whole" | "check" | "choice" | "text";
  choices: string[];
  help: string;
}
