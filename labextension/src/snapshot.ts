import { JSONObject } from '@lumino/coreutils';
import { ImageDigests } from './digest';
import { asks } from './source';
import { Attachments, IAttachment, ICellFacts, IUsage } from './tokens';

/** Most bytes of images in one message; servers close the connection at 10 MiB. */
export const MESSAGE_LIMIT = 6 * 1024 * 1024;

export interface ISnapshot {
  /** What the request carries (C3 in DESIGN.md). */
  message: JSONObject;
  /** The turns it names. */
  turns: string[];
  /** Digests of the images whose bytes it carries. */
  sent: string[];
  /** Names of images that the running cell refers to and that are too large to go with it. */
  tooLarge: string[];
}

/**
 * The notebook around a running cell.
 *
 * All cells that ask are listed in document order, the running one among them, and the markdown
 * cells whose attachments they refer to. Bytes go only with what the running cell refers to.
 *
 * @param cells - All cells of the notebook.
 * @param running - The id of the cell that runs.
 * @param has - Whether the kernel has the bytes of a digest.
 * @returns null when no cell asks: then nothing is sent.
 */
export function snapshot(
  notebook: string,
  cells: readonly ICellFacts[],
  running: string,
  digests: ImageDigests,
  has: (digest: string) => boolean
): ISnapshot | null {
  if (!cells.some(cell => cell.type === 'code' && asks(cell.source))) {
    return null;
  }
  const wanted = new Map<string, Map<string, IAttachment>>();
  const holders = new Map<string, ICellFacts>();
  const mine = new Set<IAttachment>();
  for (const cell of cells) {
    if (cell.type !== 'code') {
      cell.attachments.forEach((_, name) => holders.set(name, cell));
    } else if (asks(cell.source)) {
      for (const name of cell.images) {
        const holder = cell.attachments.has(name) ? cell : holders.get(name);
        const attachment = holder?.attachments.get(name);
        if (holder !== undefined && attachment !== undefined) {
          wanted.set(holder.id, (wanted.get(holder.id) ?? new Map()).set(name, attachment));
          if (cell.id === running) {
            mine.add(attachment);
          }
        }
      }
    }
  }
  const parcel = new Parcel(digests, has);
  const listed = cells
    .filter(c => c.id === running || wanted.has(c.id) || (c.type === 'code' && asks(c.source)))
    .map(cell => ({
      id: cell.id,
      source: cell.source,
      // Its outputs are gone by now: the kernel is told what its new turn replaces.
      turn: (cell.id === running ? cell.shown : finished(cell)).at(-1)?.turn ?? null,
      ...parcel.pack(wanted.get(cell.id), mine)
    }));
  return {
    message: { version: 1, notebook, cells: listed },
    turns: listed.flatMap(cell => cell.turn ?? []),
    sent: parcel.sent,
    tooLarge: parcel.tooLarge
  };
}

/** The replies that a cell shows and that became turns: not interrupted, not refused. */
export function finished(cell: Pick<ICellFacts, 'usages'>): IUsage[] {
  return cell.usages.filter(usage => usage.turn !== null);
}

/** The images of one message; each one's bytes are in it once. */
class Parcel {
  constructor(
    private _digests: ImageDigests,
    private _has: (digest: string) => boolean
  ) {}

  readonly sent: string[] = [];
  readonly tooLarge: string[] = [];

  pack(attachments: Attachments | undefined, mine: ReadonlySet<IAttachment>): JSONObject {
    const packed: JSONObject = {};
    for (const [name, attachment] of attachments ?? []) {
      const sha256 = this._digests.of(attachment.data);
      if (sha256 !== null) {
        const data = mine.has(attachment) ? this._data(name, sha256, attachment.data) : {};
        packed[name] = { mime: attachment.mime, sha256, ...data };
      }
    }
    return Object.keys(packed).length > 0 ? { attachments: packed } : {};
  }

  private _data(name: string, sha256: string, data: string): { data?: string } {
    if (this._has(sha256) || this.sent.includes(sha256)) {
      return {};
    }
    if (this._size + data.length > MESSAGE_LIMIT) {
      this.tooLarge.push(name);
      return {};
    }
    this._size += data.length;
    this.sent.push(sha256);
    return { data };
  }

  private _size = 0;
}
