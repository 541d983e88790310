import { isLlmCell } from './source';
import { textDigest } from './digest';
import { ICellFacts, ICellState, IUsage, Kind } from './tokens';

/**
 * How every cell with a turn, and every %%llm cell, stands in its notebook.
 *
 * A reply is fresh when its cell reads as it ran, and when it stood on the turn that is above it
 * now, which is fresh itself. Only the document is asked, so this is the same after a reload.
 *
 * @param cells - All cells that may ask, in document order.
 */
export function freshness(cells: Iterable<ICellFacts>): Map<string, ICellState> {
  const states = new Map<string, ICellState>();
  const threads = new Map<string, { turn: string | null; fresh: boolean }>();
  for (const cell of cells) {
    const finished = cell.usages.filter(usage => usage.generated.stop !== 'interrupt');
    const usage = cell.usages.at(-1) ?? null;
    const first = finished[0];
    const last = finished.at(-1);
    let kind: Kind | null = null;
    if (first !== undefined && last !== undefined) {
      const above = threads.get(first.thread) ?? { turn: null, fresh: true };
      const edited = first.source != null && first.source !== sourceDigest(cell.source);
      const alone = first.joins === false && seesNothing(cell.source);
      const moved = first.after !== undefined && first.after !== above.turn;
      const outdated = !alone && (moved || !above.fresh);
      kind = edited ? 'edited' : outdated ? 'outdated' : kindOf(last);
      if (last.joins !== false) {
        threads.set(first.thread, { turn: last.turn, fresh: !edited && !outdated });
      }
    }
    if (usage !== null || isLlmCell(cell.source)) {
      states.set(cell.id, {
        kind: transient(cell, usage) ?? kind ?? 'new',
        usage,
        running: cell.running
      });
    }
  }
  return states;
}

/** Whether running a cell again would give something else than what it shows. */
export function isStale(kind: Kind): boolean {
  return kind === 'edited' || kind === 'outdated';
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

const digests = new Map<string, string>();

/** Most cells do not change between two looks: their digests are kept. */
function sourceDigest(source: string): string {
  let known = digests.get(source);
  if (known === undefined) {
    if (digests.size > 1000) {
      digests.clear();
    }
    known = textDigest(source);
    digests.set(source, known);
  }
  return known;
}
