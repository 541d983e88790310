import { JSONObject } from '@lumino/coreutils';
import { Signal } from '@lumino/signaling';
import { describe, expect, it, vi } from 'vitest';
import { ImageDigests } from '../src/digest';
import { Requests } from '../src/requests';
import { ICellFacts } from '../src/tokens';
import { cell } from './facts';

/** A notebook with one cell that asks, and its kernel. */
function opened() {
  const sent: JSONObject[] = [];
  const kernel = {
    reply: new Promise<object>(() => undefined),
    requestExecute: (_content: object, _dispose?: boolean, metadata?: JSONObject) => {
      sent.push(metadata ?? {});
      return { done: kernel.reply };
    }
  };
  const sessionContext = {
    session: { kernel },
    kernelChanged: new Signal<object, void>({}),
    statusChanged: new Signal<object, string>({})
  };
  const conversation = {
    path: 'a.ipynb',
    digests: new ImageDigests(),
    cell: (id: string) => (id === 'a' ? {} : undefined),
    cells: vi.fn((): ICellFacts[] => [cell('a', '%%llm\na')]),
    kernelHas: vi.fn(),
    kernelGone: vi.fn()
  };
  type Given = ConstructorParameters<typeof Requests>;
  const [given, session] = [conversation, sessionContext] as unknown as Given;
  const onTooLarge = vi.fn();
  const requests = new Requests(given, session, onTooLarge);
  return { kernel, sessionContext, conversation, requests, sent, onTooLarge };
}

describe('requests', () => {
  it('carry the notebook, whichever cell of it runs, until it is closed', () => {
    const { kernel, requests, sent } = opened();
    kernel.requestExecute({}, true, { cellId: 'a', more: 1 });
    kernel.requestExecute({}, true, { cellId: 'of another notebook' });
    requests.dispose();
    kernel.requestExecute({}, true, { cellId: 'a' });
    const cells = [{ id: 'a', source: '%%llm\na', turn: null }];
    expect(sent).toEqual([
      { cellId: 'a', more: 1, llmagic: { version: 1, notebook: 'a.ipynb', cells } },
      { cellId: 'of another notebook' },
      { cellId: 'a' }
    ]);
  });

  it('leave how long they took to be prepared, and nothing else, for whoever measures', () => {
    const { kernel } = opened();
    performance.clearMeasures();
    kernel.requestExecute({}, true, { cellId: 'a' });
    expect(performance.getEntriesByName('llmagic:snapshot')).toHaveLength(1);
    expect(performance.getEntriesByType('mark')).toEqual([]);
  });

  it('carry it once where somebody else wrapped them, too, and the kernel was restarted', () => {
    const { kernel, sessionContext, conversation } = opened();
    const ours = kernel.requestExecute;
    kernel.requestExecute = (...args) => ours(...args);
    conversation.kernelGone.mockClear();
    sessionContext.statusChanged.emit('restarting');
    expect(conversation.kernelGone).toHaveBeenCalledOnce();
    sessionContext.kernelChanged.emit(undefined);
    kernel.requestExecute({}, true, { cellId: 'a' });
    expect(conversation.cells).toHaveBeenCalledTimes(1);
  });

  it('bring more images than fit into one message with several runs', async () => {
    const { kernel, conversation, sent, onTooLarge } = opened();
    const names = ['1.png', '2.png', '3.png', '4.png', '5.png'];
    const image = (name: string) => ({ mime: 'image/png', data: name[0]!.repeat(2_800_000) });
    const attachments = new Map(names.map(name => [name, image(name)]));
    const source = `%%llm\n${names.map(name => `![](attachment:${name})`).join('')}`;
    conversation.cells.mockReturnValue([cell('a', source, { attachments })]);
    const run = async (content: object) => {
      kernel.reply = Promise.resolve({ content });
      kernel.requestExecute({}, true, { cellId: 'a' });
      await kernel.reply;
      const { cells } = sent.at(-1)!.llmagic as unknown as { cells: { attachments: object }[] };
      const all = Object.entries(cells[0]!.attachments);
      return all.filter(([, each]) => 'data' in each).map(([name]) => name);
    };
    const missing = { status: 'error', ename: 'ImageError' };
    expect(await run({ status: 'error', ename: 'UsageError' })).toEqual(['1.png', '2.png']);
    expect(await run(missing)).toEqual(['1.png', '2.png']); // nobody had taken them
    expect(onTooLarge).toHaveBeenLastCalledWith(['3.png', '4.png', '5.png']);
    expect(await run(missing)).toEqual(['3.png', '4.png']);
    expect(onTooLarge).toHaveBeenLastCalledWith(['5.png']);
    expect(await run({ status: 'ok' })).toEqual(['5.png']);
    expect(await run(missing)).toEqual([]); // it had dropped some
    expect(await run({ status: 'ok' })).toEqual(['1.png', '2.png']);
  });
});
