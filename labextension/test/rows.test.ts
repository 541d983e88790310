import { describe, expect, it } from 'vitest';
import { ITurn } from '../src/kernelstate';
import { rows } from '../src/rows';

/** Turns as the kernel sends them: name, parent, number if a cell shows it. */
function drawn(...turns: [string, string | null, number | null][]): string[] {
  const given = turns.map(
    ([turn, parent, number]) => ({ turn, parent, number, current: number !== null }) as ITurn
  );
  return rows(given).map(({ turn, depth }) => '>'.repeat(depth) + turn.turn);
}

describe('the rows of the panel', () => {
  it('go straight down, with versions that no cell shows aside', () => {
    expect(drawn(['a', null, 1], ['b', 'a', 2], ['c', 'b', 3])).toEqual(['a', 'b', 'c']);
    expect(drawn(['a', null, null], ['a2', null, 1], ['b', 'a2', 2])).toEqual(['>a', 'a2', 'b']);
    expect(drawn(['a', null, 1], ['b', 'a', null], ['b2', 'a', 2])).toEqual(['a', '>b', 'b2']);
  });

  it('are in the order of the cells where stale ones stand on an earlier version', () => {
    // The first cell was edited and ran again, the others did not.
    expect(drawn(['a', null, null], ['b', 'a', 2], ['c', 'b', 3], ['a2', null, 1])).toEqual([
      'a2',
      '>a',
      '>b',
      '>c'
    ]);
    expect(drawn(['a', null, 1], ['b', 'a', null], ['c', 'b', 3], ['b2', 'a', 2])).toEqual([
      'a',
      'b2',
      '>b',
      '>c'
    ]);
  });

  it('know turns whose parents are gone', () => {
    expect(drawn(['b', 'forgotten', 1], ['c', 'b', 2])).toEqual(['b', 'c']);
  });
});
