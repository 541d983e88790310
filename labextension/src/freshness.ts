import { JSONExt, JSONValue } from '@lumino/coreutils';
import { isLlmCell } from './source';
import { textDigest } from './digest';
import { ICellFacts, ICellState, IRunning, IUsage, Kind } from './tokens';

/** What the states of a notebook depend on in one of its cells: hardly any key changes it. */
export interface IOutline {
  readonly id: string;
  /** Whether it has a state. */
  readonly asks: boolean;
  readonly edited: boolean;
  /** The text that it ran with, once it was seen. */
  readonly ran: string | null;
  /** Whether it asked, and asks, without any history. */
  readonly alone: boolean;
  /** The first and the last of its replies that are part of the conversation, shown or not. */
  readonly first: IUsage | undefined;
  readonly last: IUsage | undefined;
  readonly usage: IUsage | null;
  readonly running: IRunning | null;
  readonly passing: Kind | null;
}

/**
 * The outline of a cell.
 *
 * @param before - Its outline before it changed: what it ran with need not be found out again.
 */
export function outline(cell: ICellFacts, before?: IOutline): IOutline {
  // Trusting a notebook makes all outputs anew, with what is in them: no other replies.
  const known = [before?.first, before?.last, before?.usage ?? undefined];
  const same = (usage: IUsage) => known.find(each => isEqual(each, usage)) ?? usage;
  const usages = cell.usages.map(same);
  const shows = usages.filter(usage => usage.turn !== null);
  // Cleared, or the cell failed when it ran again: the kernel goes on from what it has.
  const finished = shows.length > 0 || !cell.counts ? shows : cell.shown.map(same);
  const usage = usages.at(-1) ?? null;
  const first = finished[0];
  let ran = first !== undefined && before?.first === first ? before.ran : null;
  if (ran === null && first?.source != null && first.source === textDigest(cell.source)) {
    ran = cell.source;
  }
  return {
    id: cell.id,
    asks: usage !== null || (cell.type === 'code' && isLlmCell(cell.source)),
    edited: first?.source != null && ran !== cell.source,
    ran,
    alone: first?.joins === false && seesNothing(cell.source),
    first,
    last: finished.at(-1),
    usage,
    running: cell.running,
    passing: transient(cell, usage)
  };
}

/** Whether two outlines give the same states. */
export function isSame(one: IOutline, other: IOutline): boolean {
  return (Object.keys(one) as (keyof IOutline)[]).every(key => one[key] === other[key]);
}

/**
 * How every cell with a turn, and every %%llm cell, stands in its notebook.
 *
 * A reply is fresh when its cell reads as it ran, and when it stood on the turn that is above it
 * now, which is fresh itself. The document is asked, so this is the same after a reload; only what
 * the kernel has of a cell that shows nothing any more is remembered.
 *
 * @param cells - The outlines of all cells, in document order.
 */
export function freshness(cells: Iterable<IOutline>): Map<string, ICellState> {
  const states = new Map<string, ICellState>();
  const threads = new Map<string, { turn: string | null; fresh: boolean }>();
  for (const { id, asks, edited, alone, first, last, usage, running, passing } of cells) {
    let kind: Kind | null = null;
    if (first !== undefined && last !== undefined) {
      const above = threads.get(first.thread) ?? { turn: null, fresh: true };
      const moved = first.after !== undefined && first.after !== above.turn;
      const outdated = !alone && (moved || !above.fresh);
      kind = edited ? 'edited' : outdated ? 'outdated' : kindOf(last);
      if (last.joins !== false) {
        threads.set(first.thread, { turn: last.turn, fresh: !edited && !outdated });
      }
    }
    if (asks) {
      states.set(id, { kind: passing ?? (usage && kind) ?? 'new', usage, running });
    }
  }
  return states;
}

/** Whether running a cell again would give something else than what it shows. */
export function isStale(kind: Kind): boolean {
  return kind === 'edited' || kind === 'outdated';
}

function isEqual(one: IUsage | undefined, other: IUsage): boolean {
  return JSONExt.deepEqual((one ?? null) as unknown as JSONValue, other as unknown as JSONValue);
}

function transient(cell: ICellFacts, usage: IUsage | null): Kind | null {
  if (cell.executing) {
    return cell.running === null || usage !== null ? 'waiting' : 'running';
  }
  if (usage?.generated.stop === 'interrupt') {
    return 'interrupted';
  }
  if (cell.running !== null) {
    return 'unfinished';
  }
  return cell.failed ? 'failed' : null;
}

/** Whether a cell asks without any history. */
function seesNothing(source: string): boolean {
  return /^\s*%%?llm\s.*--fresh(?![\w-])/.test(source);
}

function kindOf(usage: IUsage): Kind {
  return usage.generated.stop === 'replayed' ? 'replayed' : 'fresh';
}
