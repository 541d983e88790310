import { NotebookPanel } from '@jupyterlab/notebook';
import { describe, expect, it, vi } from 'vitest';
import { Completion, target } from '../src/completion';

vi.mock('@jupyterlab/notebook', () => ({ NotebookPanel: class {} }));

type Given = ConstructorParameters<typeof Completion>;
type Asked = Parameters<Completion['fetch']>;

const files: Record<string, [string, string][]> = {
  'a folder': [
    ['grö ße', 'directory'],
    ['x.png', 'file']
  ],
  'a folder/grö ße': [
    ['ein Bild.png', 'file'],
    ['text.txt', 'file']
  ]
};

/** What is offered at the end of a text, in a notebook whose kernel has these names. */
async function completed(text: string, behind = '', names: string[] = []) {
  const panel = { context: { path: 'a folder/a.ipynb' } } as unknown as NotebookPanel;
  const contents = {
    get: async (path: string) => ({
      content: files[path]!.map(([name, type]) => ({ name, type }))
    })
  };
  const conversations = { of: () => ({ cells: () => [] }) };
  const completion = new Completion(
    { currentWidget: panel } as unknown as Given[0],
    conversations as unknown as Given[1],
    contents as unknown as Given[2]
  );
  const requestComplete = vi.fn(async (_: object) => ({
    content: { status: 'ok', matches: names }
  }));
  const reply = await completion.fetch(
    { text: text + behind, offset: [...text].length } as Asked[0],
    { session: { kernel: { requestComplete } } } as unknown as Asked[1]
  );
  const asked = requestComplete.mock.calls.map(([request]) => request);
  return { ...reply, labels: reply.items.map(({ label }) => label), asked };
}

describe('completion', () => {
  it('counts characters, as the request does', async () => {
    const found = await completed('%%llm\n😀😀 {zeb', ' 😀', ['zebra', 'x.y']);
    expect(found).toMatchObject({ start: 10, end: 13, labels: ['zebra'] });
    expect(found.asked).toEqual([{ code: 'zeb', cursor_pos: 3 }]);
    expect(await completed('%%llm -s 😀 --max-tok')).toMatchObject({
      start: 11,
      labels: ['--max-tokens']
    });
  });

  it('knows names of any letters that Python takes', async () => {
    const found = await completed('%%llm\n{𝔵grö', '', ['𝔵größe', '𝔵gröb.x']);
    expect(found).toMatchObject({ start: 7, labels: ['𝔵größe'] });
    expect(found.asked).toEqual([{ code: '𝔵grö', cursor_pos: 4 }]);
    expect(target('%%llm -a größ', 13)).toEqual({ kind: 'name', start: 9 });
    expect(target('%%llm\n{{grö', 11)).toBeNull();
    expect(target('%%llm\n{1grö', 11)).toBeNull();
  });

  it.each([
    ['', ['gr%C3%B6%20%C3%9Fe/', 'x.png']],
    ['gr%C3%B6%20%C3%9Fe/', ['gr%C3%B6%20%C3%9Fe/ein%20Bild.png']],
    ['gr%C3%B6%20%C3%9Fe/e', ['gr%C3%B6%20%C3%9Fe/ein%20Bild.png']],
    ['grö%20ße/', ['grö%20ße/ein%20Bild.png']],
    ['/', []],
    ['gr%C3%B6%20%C3%9Fe/../x', ['gr%C3%B6%20%C3%9Fe/../x.png']]
  ])('lists the folder of %j', async (typed, labels) => {
    expect((await completed(`%%llm\n![](${typed}`)).labels).toEqual(labels);
  });
});
