import { ITurn } from './kernelstate';

/** A turn in the panel, and how far to the right it stands. */
export interface IRow {
  turn: ITurn;
  depth: number;
}

/**
 * Turns below their parents, and among those that stand on the same turn in the order of the cells.
 *
 * Only where a branch begins the tree steps to the right: the current path goes straight down.
 * Branches of which no cell shows anything come before it.
 */
export function rows(turns: readonly ITurn[]): IRow[] {
  const known = new Set(turns.map(turn => turn.turn));
  const parentOf = ({ parent }: ITurn) => (parent !== null && known.has(parent) ? parent : null);
  const children = new Map<string | null, ITurn[]>();
  // The first cell that shows a turn or one that stands on it. The kernel sends parents first.
  const first = new Map<string | null, number>();
  for (const turn of [...turns].reverse()) {
    const parent = parentOf(turn);
    children.set(parent, [turn, ...(children.get(parent) ?? [])]);
    const own = Math.min(first.get(turn.turn) ?? Infinity, turn.number ?? Infinity);
    first.set(turn.turn, own);
    first.set(parent, Math.min(first.get(parent) ?? Infinity, own));
  }
  const place = ({ turn }: ITurn) => (first.get(turn) === Infinity ? 0 : first.get(turn)!);
  const found: IRow[] = [];
  const walk = (parent: string | null, depth: number) => {
    const branches = (children.get(parent) ?? []).sort((a, b) => place(a) - place(b));
    const straight = branches.find(turn => turn.current) ?? branches.at(-1);
    for (const turn of branches) {
      const at = turn === straight ? depth : depth + 1;
      found.push({ turn, depth: at });
      walk(turn.turn, at);
    }
  };
  walk(null, 0);
  return found;
}
