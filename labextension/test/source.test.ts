import { describe, expect, it } from 'vitest';
import { asks, isLlmCell, reference, references, withoutReference } from '../src/source';

describe('which cells ask', () => {
  it.each([
    ['%%llm', true, true],
    ['  \n%%llm -t 0\nHi', true, true],
    ['x = 1\n%llm What?', false, true],
    ['  %llm status', false, true],
    ['%%llmagic', false, false],
    ['%%llm-x', false, false],
    ['print("%%llm")', false, false],
    ['# %llm', false, false],
    ['', false, false]
  ])('%j', (source, whole, any) => {
    expect([isLlmCell(source), asks(source)]).toEqual([whole, any]);
  });
});

describe('references to attachments', () => {
  it('are found in order, each once, decoded', () => {
    const source = '![](attachment:b.png) ![x](attachment:a%20b.png "t") ![](attachment:b.png)';
    expect(references(source)).toEqual(['b.png', 'a b.png']);
    expect(references('![](<attachment:a b.png>) ![](x.png) (attachment:c.png)')).toEqual([
      'a b.png'
    ]);
    expect(references('![](attachment:100%)')).toEqual(['100%']);
  });

  it.each(['x.png', 'a b (1).png', 'ü%20.jpg', '中.png'])('%j survives being written', name => {
    expect(references(`a ${reference(name)} b`)).toEqual([name]);
    expect(withoutReference(`a ${reference(name)} b`, name)).toBe('a  b');
    expect(withoutReference(reference(name), 'other')).toBe(reference(name));
  });
});
