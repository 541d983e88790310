import { describe, expect, it } from 'vitest';
import { freshness, outline } from '../src/freshness';
import { ICellFacts } from '../src/tokens';
import { asked, cell, usage } from './facts';

const kinds = (cells: ICellFacts[]) =>
  [...freshness(cells.map(each => outline(each))).values()].map(state => state.kind);

describe('freshness', () => {
  it('holds as long as nothing changed', () => {
    expect(kinds(asked('a', 'b', 'c'))).toEqual(['fresh', 'fresh', 'fresh']);
    expect(kinds([cell('x', 'x = 1'), ...asked('a')])).toEqual(['fresh']);
  });

  it('ends below an edited cell, and comes back when the edit is undone', () => {
    const [a, b, c] = asked('a', 'b', 'c') as [ICellFacts, ICellFacts, ICellFacts];
    const edited = { ...b, source: b.source + '?' };
    expect(kinds([a, edited, c])).toEqual(['fresh', 'edited', 'outdated']);
    expect(kinds([a, b, c])).toEqual(['fresh', 'fresh', 'fresh']);
  });

  it('follows deleted, moved and inserted cells', () => {
    const [a, b, c] = asked('a', 'b', 'c') as [ICellFacts, ICellFacts, ICellFacts];
    expect(kinds([a, c])).toEqual(['fresh', 'outdated']);
    expect(kinds([b, a, c])).toEqual(['outdated', 'outdated', 'outdated']);
    const fresh = cell('n', '%%llm\nn');
    expect(kinds([a, fresh, b])).toEqual(['fresh', 'new', 'fresh']);
    const ran = { ...fresh, usages: [usage('turn-n', 'turn-a', fresh.source)] };
    expect(kinds([a, ran, b, c])).toEqual(['fresh', 'fresh', 'outdated', 'outdated']);
  });

  it('keeps threads apart, and sides out of the history', () => {
    const [a, b] = asked('a', 'b') as [ICellFacts, ICellFacts];
    const other = cell('o', '%%llm --thread o\n?', {
      usages: [usage('turn-o', null, '%%llm --thread o\n?', { thread: 'o' })]
    });
    const side = cell('s', '%%llm --side\n?', {
      usages: [usage('turn-s', 'turn-a', '%%llm --side\n?', { joins: false })]
    });
    const alone = cell('f', '%%llm --fresh\n?', {
      usages: [usage('turn-f', null, '%%llm --fresh\n?', { joins: false })]
    });
    expect(kinds([a, other, side, alone, b])).toEqual(Array(5).fill('fresh'));
    const edited = { ...a, source: '%%llm\nA' };
    expect(kinds([edited, other, side, alone, b])).toEqual([
      'edited',
      'fresh',
      'outdated',
      'fresh',
      'outdated'
    ]);
  });

  it('shows what passes, and what did not come to its end', () => {
    const [a] = asked('a') as [ICellFacts];
    const running = { stage: 'prompt' as const, done: 1, total: 2 };
    const cut = [
      usage(null, null, a.source, { generated: { tokens: 1, ms: 1, stop: 'interrupt' } })
    ];
    expect(kinds([{ ...a, executing: true, usages: [] }])).toEqual(['waiting']);
    expect(kinds([{ ...a, executing: true, usages: [], running }])).toEqual(['running']);
    expect(kinds([{ ...a, usages: [], running }])).toEqual(['unfinished']);
    expect(kinds([{ ...a, usages: [], failed: true }])).toEqual(['failed']);
    expect(kinds([{ ...a, usages: cut, failed: true }])).toEqual(['interrupted']);
    expect(kinds([{ ...a, usages: cut }, cell('b', '%%llm\nb')])).toEqual(['interrupted', 'new']);
  });

  it('counts what the kernel has of a cell that shows nothing any more', () => {
    const [a, b, c] = asked('a', 'b', 'c') as [ICellFacts, ICellFacts, ICellFacts];
    const cleared = { ...a, usages: [], shown: a.usages, counts: true };
    expect(kinds([cleared, b, c])).toEqual(['new', 'fresh', 'fresh']);
    expect(kinds([{ ...cleared, failed: true }, b, c])).toEqual(['failed', 'fresh', 'fresh']);
    expect(kinds([{ ...cleared, source: '%%llm\nx' }, b])).toEqual(['new', 'outdated']);
    const both = [a.usages[0]!, usage('turn-a2', 'turn-a', a.source)];
    const below = { ...b, usages: [usage('turn-b', 'turn-a2', b.source)] };
    expect(kinds([{ ...cleared, shown: both }, below, c])).toEqual(['new', 'fresh', 'fresh']);
    // A kernel that was restarted since does not have it.
    expect(kinds([{ ...cleared, counts: false }, b, c])).toEqual(['new', 'outdated', 'outdated']);
  });

  it('is of no markdown cell, whatever it tells of', () => {
    expect(kinds([cell('m', '%%llm cells are questions', { type: 'markdown' })])).toEqual([]);
  });

  it('takes a kernel that says nothing about it at its word', () => {
    const old = { ...usage('t', null, ''), after: undefined, source: undefined };
    expect(kinds([cell('a', '%%llm\nx', { usages: [old] })])).toEqual(['fresh']);
  });
});
