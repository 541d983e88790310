import { describe, expect, it } from 'vitest';
import { describe as words, size } from '../src/describe';
import { runningOf, usageOf } from '../src/usage';
import { usage } from './facts';

describe('words', () => {
  it('say what was reused', () => {
    const { figures, sentences } = words({
      kind: 'fresh',
      usage: usage('t', null, ''),
      running: null
    });
    expect(figures).toBe('1,203 tokens reused (memory), 47 read · 3 images reused · 1.2 s');
    expect(sentences).toContain('No image was encoded again (3 images).');
  });

  it('say how far a cell is', () => {
    const running = { stage: 'reply' as const, done: 12, total: null, per_second: 31.25 };
    expect(words({ kind: 'running', usage: null, running }).figures).toBe(
      '12 tokens · 31.3 per second'
    );
  });

  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1500, '1.5 KB'],
    [2_500_000_000, '2.5 GB']
  ])('size %d', (bytes, text) => expect(size(bytes)).toBe(text));
});

describe('metadata', () => {
  it.each([null, [], {}, { llmagic: 1 }, { llmagic: { version: 2, turn: 'x' } }])(
    '%j is none',
    m => {
      expect([usageOf(m), runningOf(m)]).toEqual([null, null]);
    }
  );

  it('is read whole or not at all', () => {
    const whole = { version: 1, ...usage('t', null, '') };
    expect(usageOf({ llmagic: whole })).toEqual(whole);
    expect(usageOf({ llmagic: { ...whole, prompt: { tokens: '3' } } })).toBeNull();
    expect(usageOf({ llmagic: { ...whole, generated: undefined } })).toBeNull();
  });
});
