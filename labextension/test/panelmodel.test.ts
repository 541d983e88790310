import { JSONObject } from '@lumino/coreutils';
import { Signal } from '@lumino/signaling';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { ITurn, LONGEST } from '../src/kernelstate';
import { PanelModel } from '../src/panelmodel';
import { cell } from './facts';

vi.mock('@jupyterlab/apputils', () => ({
  Notification: { info: () => undefined },
  VDomModel: class {
    stateChanged = new Signal<object, void>(this);
  }
}));
vi.mock('../src/commands', () => ({}));

/** The session of a notebook, whose kernel answers as `answers` says. */
function connected(answers: Record<string, JSONObject>) {
  const sent: JSONObject[] = [];
  const createComm = vi.fn(() => {
    const comm = {
      isDisposed: false,
      onMsg: (_: object) => undefined,
      open: () => undefined,
      send: async (data: JSONObject) => {
        sent.push(data);
        comm.onMsg({ content: { data: { ...answers[String(data.type)], id: data.id } } });
      }
    };
    return comm;
  });
  return {
    createComm,
    sent,
    session: { kernel: { handleComms: true, status: 'idle', createComm } },
    kernelChanged: new Signal<object, void>({}),
    statusChanged: new Signal<object, string>({})
  };
}

/** A panel with one notebook in front. */
function opened(answers: Record<string, JSONObject>) {
  const sessionContext = connected(answers);
  const cells = new Map<string, object>();
  const conversation = {
    changed: new Signal<object, void>({}),
    path: 'a.ipynb',
    cells: () => ['a', 'b', 'c', 'd'].map(id => cell(id, `%%llm\n${id}`)),
    states: new Map([
      ['a', { kind: 'new' }],
      ['b', { kind: 'edited' }],
      ['d', { kind: 'outdated' }]
    ]),
    cell: (id: string) => cells.get(id)
  };
  const conversations = {
    tracker: { currentChanged: new Signal<object, void>({}), currentWidget: { sessionContext } },
    opened: new Signal<object, void>({}),
    of: () => conversation
  };
  type Given = ConstructorParameters<typeof PanelModel>[0];
  const model = new PanelModel(conversations as unknown as Given);
  const goTo = (session: object) => {
    conversations.tracker.currentWidget = { sessionContext: session as typeof sessionContext };
    conversations.tracker.currentChanged.emit(undefined);
  };
  return { model, sessionContext, cells, goTo };
}

const settled = () => vi.advanceTimersByTimeAsync(1000);

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('window', globalThis);
});

describe('the model of the panel', () => {
  it('shows no turn of a kernel that restarted, and asks the one that came', async () => {
    const answers = { state: { type: 'state', busy: false, model: 'demo', turns: [] } };
    const { model, sessionContext } = opened(answers);
    model.isActive = true;
    await settled();
    expect(model.state?.model).toBe('demo');
    sessionContext.statusChanged.emit('restarting');
    expect(model.state).toBeNull();
    const before = sessionContext.sent.length;
    sessionContext.kernelChanged.emit(undefined);
    await settled();
    expect(sessionContext.sent.length).toBeGreaterThan(before);
    expect(model.state?.model).toBe('demo');
  });

  it('has one comm for each notebook, however often it comes to the front', async () => {
    const answers = (model: string) => ({
      state: { type: 'state', busy: false, model, turns: [] }
    });
    const { model, sessionContext, goTo } = opened(answers('one'));
    model.isActive = true;
    await settled();
    const another = connected(answers('two'));
    for (const session of [another, sessionContext, another]) {
      goTo(session);
      expect(model.state).toBeNull();
      await settled();
      expect(model.state?.model).toBe(session === another ? 'two' : 'one');
    }
    expect(sessionContext.createComm).toHaveBeenCalledOnce();
    expect(another.createComm).toHaveBeenCalledOnce();
    sessionContext.statusChanged.emit('restarting');
    expect(model.state?.model).toBe('two');
  });

  it('waits no longer for the kernel of a notebook that is not in front', async () => {
    const { model, sessionContext, goTo } = opened({});
    sessionContext.session.kernel.createComm.mockReturnValue({
      isDisposed: false,
      onMsg: () => undefined,
      open: () => undefined,
      send: async () => undefined
    });
    model.isActive = true;
    await settled();
    goTo(connected({ state: { type: 'state', busy: false, model: 'two', turns: [] } }));
    await settled();
    expect(model.state?.model).toBe('two');
  });

  it('asks again when an answer was lost, and shows what it knew meanwhile', async () => {
    const answers = { state: { type: 'state', busy: false, model: 'demo', turns: [] } };
    const { model, sessionContext } = opened(answers);
    const { kernel } = sessionContext.session;
    model.isActive = true;
    await settled();
    const told = vi.spyOn(console, 'error').mockReturnValue();
    const heard = kernel.createComm.mock.results[0]!.value;
    const send = heard.send;
    heard.send = async () => undefined;
    kernel.status = 'busy';
    void model.refresh();
    await vi.advanceTimersByTimeAsync(10 * LONGEST);
    expect(told).not.toHaveBeenCalled(); // it answers when its cell is done
    kernel.status = 'idle';
    await vi.advanceTimersByTimeAsync(LONGEST);
    expect(told).toHaveBeenCalledOnce();
    expect(model.state?.model).toBe('demo');
    heard.send = send;
    answers.state.model = 'another';
    await model.refresh();
    expect(model.state?.model).toBe('another');
  });

  it('restores a version in the document, too, when another notebook comes to the front', async () => {
    const source = '%%llm\nbefore';
    const answers: Record<string, JSONObject> = { restore: { type: 'later' } };
    const { model, cells, sessionContext, goTo } = opened(answers);
    const setSource = vi.fn();
    cells.set('a', { sharedModel: { setSource, setOutputs: vi.fn() } });
    const restoring = model.restore('a', { turn: 't', source, output: {} });
    await settled();
    goTo(connected({}));
    answers.restore = { type: 'restored', source, output: {} };
    await settled();
    await restoring;
    expect(setSource).toHaveBeenCalledWith(source);
    expect(sessionContext.sent.at(-1)).toMatchObject({ type: 'restore', notebook: 'a.ipynb' });
  });

  it('reads a list of versions again as long as it is open', async () => {
    const versions = (...turns: string[]) => ({
      type: 'versions',
      versions: turns.map(turn => ({ turn, source: '', output: {} }))
    });
    const answers: Record<string, JSONObject> = {
      state: { type: 'state', busy: false, model: 'demo', turns: [] },
      versions: versions('1')
    };
    const { model, sessionContext } = opened(answers);
    const shown = () => model.versions?.list.map(({ turn }) => turn);
    const turn = { cell: 'a' } as ITurn;
    model.isActive = true;
    await model.showVersions(turn);
    expect(shown()).toEqual(['1']);
    answers.versions = versions('1', '2');
    await settled();
    await model.refresh();
    await settled();
    expect(shown()).toEqual(['1', '2']);
    for (const answer of [{ type: 'later' }, { type: 'error', message: 'no' }]) {
      vi.spyOn(console, 'error').mockReturnValue();
      answers.versions = answer;
      await model.refresh();
      await settled();
      expect(shown()).toEqual(['1', '2']);
    }
    answers.state = { ...answers.state, busy: true };
    await model.refresh();
    expect(sessionContext.sent.at(-1)).toMatchObject({ type: 'state' });
    answers.state = { ...answers.state, busy: false };
    await model.showVersions(turn);
    await model.refresh();
    await settled();
    expect(shown()).toBeUndefined();
    expect(sessionContext.sent.at(-1)).toMatchObject({ type: 'state' });
  });

  it('counts the stale cells from each cell on', () => {
    const { model } = opened({});
    expect(Object.fromEntries(model.staleFrom())).toEqual({ a: 2, b: 2, c: 1, d: 1 });
  });

  it('restores a version into the cell as it is by then: moving it makes another model', async () => {
    const source = '%%llm\nbefore';
    const { model, cells } = opened({ restore: { type: 'restored', source, output: {} } });
    const made = () => ({ sharedModel: { setSource: vi.fn(), setOutputs: vi.fn() } });
    const [old, moved] = [made(), made()];
    cells.set('a', old);
    const restoring = model.restore('a', { turn: 't', source, output: {} });
    cells.set('a', moved);
    await restoring;
    expect(moved.sharedModel.setSource).toHaveBeenCalledWith(source);
    expect(old.sharedModel.setSource).not.toHaveBeenCalled();
  });
});
