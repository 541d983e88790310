import { describe, expect, it } from 'vitest';
import {
  asks,
  imageAt,
  isLlmCell,
  mentions,
  reference,
  references,
  withoutReference
} from '../src/source';

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

  it.each([
    ['![x[0]](attachment:a.png)', 'a.png'],
    ['![a [link](b) and ![c](d)](attachment:a.png)', 'a.png'],
    ['[![](attachment:a.png)](https://x.org)', 'a.png'],
    ['x[![](attachment:a.png)', 'a.png'],
    ['![\\]](attachment:a.png)', 'a.png'],
    ['![the `x[`](attachment:a.png)', 'a.png'],
    ['![a ` b]](attachment:x.png)', null],
    ['![](attachment:a(1).png)', 'a(1).png'],
    ['![](attachment:a(1(2)).png "t")', 'a(1(2)).png'],
    ['![](attachment:a\\(1.png)', 'a(1.png'],
    ['![](attachment:a(1.png)', null],
    ['![](  attachment:a.png\n  (a title) )', 'a.png'],
    ['![](<attachment:a (1>)', 'a (1'],
    ['![](attachment:a b.png)', null],
    ['![a\n\nb](attachment:a.png)', null],
    ['\\![](attachment:a.png)', null],
    ['\\\\![](attachment:a.png)', 'a.png'],
    ['![](Attachment:a.png)', 'a.png'],
    ['![]()', null]
  ])('%j is one as the kernel reads it', (source, name) => {
    expect(references(source)).toEqual(name === null ? [] : [name]);
    expect(withoutReference(`1${source}2`, name ?? 'a.png')).toMatch(
      name === null ? `1${source}2` : /^1[^!]*2$/
    );
  });

  it('are named by any text that has the name, encoded or not', () => {
    const source = '`a(1).png` ![](attachment:b c.png) %C3%BC%20%28.png 100%';
    for (const name of ['a(1).png', 'b c.png', 'ü (.png', '%C3%BC%20', '100%']) {
      expect(mentions(source, name)).toBe(true);
    }
    expect(mentions(source, 'c(1).png')).toBe(false);
  });

  it('are options of a magic, too', () => {
    const source =
      '%%llm -a attachment:b.png --image=attachment:a%20b.png --image "attachment:c d.png" -a x.png ' +
      '-a=attachment:g.png -a attachment:"h i.png"\n' +
      'And ![](attachment:e.png)? Not -a attachment:f.png';
    expect(references(source)).toEqual([
      'b.png',
      'a b.png',
      'c d.png',
      'g.png',
      'h i.png',
      'e.png'
    ]);
    expect(references('%%llm -aattachment:b.png')).toEqual(['b.png']);
    expect(
      withoutReference('%%llm -a attachment:b.png -t 0\n![](attachment:b.png)?', 'b.png')
    ).toBe('%%llm -t 0\n?');
    expect(withoutReference(source, 'c d.png')).not.toContain('c d.png');
    expect(withoutReference(source, 'f.png')).toBe(source);
  });

  it('are text behind a single percent sign: %llm has no options', () => {
    const source = 'x = 1\n  %llm -a attachment:b.png What? ![](attachment:c.png)';
    expect(references(source)).toEqual(['c.png']);
    expect(withoutReference(source, 'b.png')).toBe(source);
  });

  it('to an address hold no field, and end where they end', () => {
    const address = 'https://x.org/a(1).png?{exec("1")}&b=<2>\\';
    expect(imageAt(address)).toBe(
      '![](https://x.org/a%281%29.png?%7Bexec%28"1"%29%7D&b=%3C2%3E%5C)'
    );
  });

  it.each(['x.png', 'a b (1).png', 'ü%20.jpg', '中.png'])('%j survives being written', name => {
    expect(references(`a ${reference(name)} b`)).toEqual([name]);
    expect(withoutReference(`a ${reference(name)} b`, name)).toBe('a  b');
    expect(withoutReference(reference(name), 'other')).toBe(reference(name));
  });
});
