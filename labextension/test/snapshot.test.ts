import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { encodeBase64, ImageDigests } from '../src/digest';
import { MESSAGE_LIMIT, snapshot } from '../src/snapshot';
import { ICellFacts } from '../src/tokens';
import { asked, cell, usage } from './facts';

const none = () => false;
const image = (bytes: Uint8Array) => ({ mime: 'image/png', data: encodeBase64(bytes) });
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const take = (cells: ICellFacts[], running: string, has = none) =>
  snapshot('a/b.ipynb', cells, running, new ImageDigests(), has);
const listed = (cells: ICellFacts[], running: string, has = none) =>
  (take(cells, running, has)!.message.cells as any[]).map(({ id }) => id);

describe('a snapshot', () => {
  it('is not taken where nobody asks', () => {
    expect(take([cell('a', 'x = 1'), cell('m', '%%llm', { type: 'markdown' })], 'a')).toBeNull();
  });

  it('lists the cells that ask, the running one among them, in document order', () => {
    const cells = [cell('x', 'x = 1'), ...asked('a'), cell('y', 'y = 1'), cell('l', '%llm hi')];
    expect(listed(cells, 'y')).toEqual(['a', 'y', 'l']);
    expect(take(cells, 'a')!.message).toEqual({
      version: 1,
      notebook: 'a/b.ipynb',
      cells: [
        { id: 'a', source: '%%llm\na', turn: 'turn-a' },
        { id: 'l', source: '%llm hi', turn: null }
      ]
    });
  });

  it('names no turn of a reply that is not part of the conversation', () => {
    const stopped = usage(null, null, '%%llm\na');
    const cells = [cell('a', '%%llm\na', { usages: [stopped] }), ...asked('b')];
    const turns = (take(cells, 'b')!.message.cells as any[]).map(({ turn }) => turn);
    expect(turns).toEqual([null, 'turn-b']);
  });

  it('names the turn that the running cell showed before its outputs were cleared', () => {
    const cells = ['a', 'b'].map(id =>
      cell(id, `%%llm\n${id}`, { shown: [usage(`turn-${id}`, null, '')] })
    );
    const turns = (take(cells, 'b')!.message.cells as any[]).map(({ turn }) => turn);
    expect(turns).toEqual([null, 'turn-b']);
  });

  it('carries the bytes of the images that the running cell refers to, once', () => {
    const [one, two] = [new Uint8Array([1, 2, 3]), new Uint8Array([4, 5])];
    const source = '%%llm\n![](attachment:1.png) ![](attachment:same.png)';
    const cells = [
      cell('a', source, {
        attachments: new Map([
          ['1.png', image(one)],
          ['same.png', image(one)]
        ])
      }),
      cell('b', '%%llm\n![](attachment:2.png)', { attachments: new Map([['2.png', image(two)]]) }),
      cell('c', '%%llm\nno more', { attachments: new Map([['3.png', image(two)]]) })
    ];
    const taken = take(cells, 'a')!;
    expect((taken.message.cells as any[]).map(each => each.attachments)).toEqual([
      {
        '1.png': { mime: 'image/png', sha256: sha(one), data: encodeBase64(one) },
        'same.png': { mime: 'image/png', sha256: sha(one) }
      },
      { '2.png': { mime: 'image/png', sha256: sha(two) } },
      undefined
    ]);
    expect(taken.sent).toEqual([sha(one)]);
    expect(take(cells, 'a', digest => digest === sha(one))!.sent).toEqual([]);
  });

  it('lists markdown cells above that hold what a cell refers to', () => {
    const attachments = new Map([['p.png', image(new Uint8Array([9]))]]);
    const note = cell('m', '![](attachment:p.png)', { type: 'markdown', attachments });
    const question = cell('a', '%%llm\n![](attachment:p.png)');
    expect(listed([note, question], 'a')).toEqual(['m', 'a']);
    expect(take([note, question], 'a')!.sent).toHaveLength(1);
    expect(listed([question, note], 'a')).toEqual(['a']);
  });

  it('never grows over the limit of a message', () => {
    const large = image(new Uint8Array(MESSAGE_LIMIT * 0.5));
    const more = image(new Uint8Array(MESSAGE_LIMIT * 0.5).fill(1));
    const attachments = new Map([
      ['a.png', large],
      ['b.png', more]
    ]);
    const source = '%%llm\n![](attachment:a.png)![](attachment:b.png)';
    const taken = take([cell('a', source, { attachments })], 'a')!;
    expect(taken.sent).toHaveLength(1);
    expect(taken.tooLarge).toEqual(['b.png']);
    expect(JSON.stringify(taken.message).length).toBeLessThan(MESSAGE_LIMIT + 10_000);
  });

  it('leaves out what is no base64', () => {
    const attachments = new Map([['a.png', { mime: 'image/png', data: '***' }]]);
    const taken = take([cell('a', '%%llm\n![](attachment:a.png)', { attachments })], 'a')!;
    expect((taken.message.cells as any[])[0].attachments).toBeUndefined();
  });
});
