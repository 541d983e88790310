/** What the kernel leaves in an output, what is sent to it, and what the rest is drawn from. */

/** Metadata of a finished reply (C2 in DESIGN.md); times in ms, sizes in bytes. */
export interface IUsage {
  /** null for a reply that did not become part of the conversation. */
  turn: string | null;
  model: string;
  thread: string;
  /** The turn it stood on; null for the first, undefined from a kernel that does not say. */
  after?: string | null;
  /** SHA-256 of the cell's source as it ran. */
  source?: string | null;
  /** False for a reply that later cells do not see. */
  joins?: boolean;
  prompt: { tokens: number; images: number };
  restored: { tokens: number; images: number; tier: Tier; ms: number };
  evaluated: { tokens: number; images: number; ms: number };
  encoded: { images: number; ms: number };
  generated: { tokens: number; ms: number; stop: string };
  exact: boolean;
}

export type Tier = 'live' | 'memory' | 'disk' | 'none';

/** Metadata of the display of a cell that is running. */
export interface IRunning {
  stage: 'download' | 'model' | 'image' | 'prompt' | 'reply';
  done: number;
  total: number | null;
  per_second?: number | null;
}

/** An image in a cell's metadata: base64 without line breaks. */
export interface IAttachment {
  mime: string;
  data: string;
}

export type Attachments = ReadonlyMap<string, IAttachment>;

/** What is known about a cell without looking at other cells. */
export interface ICellFacts {
  id: string;
  type: string;
  source: string;
  /** Names of the attachments that the text of a code cell refers to, in order. */
  images: readonly string[];
  attachments: Attachments;
  /** One for each reply in its outputs. */
  usages: readonly IUsage[];
  /** The turns it showed last, also when its outputs were cleared since: to run it again. */
  shown: readonly IUsage[];
  /** Whether the kernel that runs now has them. */
  counts: boolean;
  running: IRunning | null;
  /** The kernel has been asked to run it and has not answered yet. */
  executing: boolean;
  failed: boolean;
}

export type Kind =
  | 'new'
  | 'waiting'
  | 'running'
  | 'fresh'
  | 'replayed'
  | 'edited'
  | 'outdated'
  | 'interrupted'
  | 'unfinished'
  | 'failed';

/** How a cell that asks stands in its notebook. */
export interface ICellState {
  kind: Kind;
  usage: IUsage | null;
  running: IRunning | null;
}
