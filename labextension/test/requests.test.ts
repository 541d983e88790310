import { JSONObject } from '@lumino/coreutils';
import { Signal } from '@lumino/signaling';
import { describe, expect, it, vi } from 'vitest';
import { ImageDigests } from '../src/digest';
import { Requests } from '../src/requests';
import { cell } from './facts';

/** A notebook with one cell that asks, and its kernel. */
function opened() {
  const sent: JSONObject[] = [];
  const kernel = {
    requestExecute: (_content: object, _dispose?: boolean, metadata?: JSONObject) => {
      sent.push(metadata ?? {});
      return { done: new Promise(() => undefined) };
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
    cells: vi.fn(() => [cell('a', '%%llm\na')]),
    kernelHas: vi.fn(),
    kernelGone: vi.fn()
  };
  type Given = ConstructorParameters<typeof Requests>;
  const [given, session] = [conversation, sessionContext] as unknown as Given;
  const requests = new Requests(given, session, () => undefined);
  return { kernel, sessionContext, conversation, requests, sent };
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
});
