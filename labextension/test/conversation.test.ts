import { ICellModel } from '@jupyterlab/cells';
import { Signal } from '@lumino/signaling';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { Conversation } from '../src/conversation';
import { freshness, outline } from '../src/freshness';
import { usage } from './facts';

/** As much of a code cell's model as is read of it. */
class Cell {
  constructor(
    readonly id: string,
    public source: string,
    public replies: object[] = []
  ) {}

  get outputs() {
    const { replies } = this;
    return {
      length: replies.length,
      get: (index: number) => ({ type: 'display_data', metadata: { llmagic: replies[index] } })
    };
  }

  metadata: object | undefined;
  readonly type = 'code';
  readonly contentChanged = new Signal<this, void>(this);
  readonly stateChanged = new Signal<this, { name: string }>(this);
  readonly metadataChanged = new Signal<this, void>(this);
  readonly sharedModel = { getSource: vi.fn(() => this.source), transact: (f: () => void) => f() };
  readonly getMetadata = vi.fn((_key: string): object | undefined => this.metadata);
  executionState = 'idle';

  setMetadata(_key: string, value?: object): void {
    this.metadata = value;
    this.metadataChanged.emit(undefined);
  }

  deleteMetadata(key: string): void {
    this.setMetadata(key);
  }

  write(source: string): void {
    this.source = source;
    this.contentChanged.emit(undefined);
  }

  run(executionState: 'running' | 'idle'): void {
    this.executionState = executionState;
    this.contentChanged.emit(undefined);
    this.stateChanged.emit({ name: 'executionState' });
  }
}

/** A notebook of these cells, and what its conversation told in each frame. */
function opened(...cells: Cell[]) {
  const list = Object.assign([...cells], { changed: new Signal<object, void>({}) });
  const saveState = new Signal<object, string>({});
  const context = { model: { cells: list }, saveState };
  const conversation = new Conversation(context as unknown as Conversation['context']);
  const told: string[][] = [];
  conversation.changed.connect((_, changed) =>
    told.push([...(changed as Iterable<ICellModel>)].map(cell => cell.id))
  );
  const insert = (at: number, cell: Cell) => {
    list.splice(at, 0, cell);
    list.changed.emit(undefined);
  };
  const remove = (at: number) => {
    list.splice(at, 1);
    list.changed.emit(undefined);
  };
  const save = () => saveState.emit('started');
  const kinds = () => [...conversation.states.values()].map(state => state.kind);
  return { conversation, list, told, insert, remove, save, kinds };
}

/** Questions that ran one after the other, in cells of these names. */
function asked(...ids: string[]): Cell[] {
  return ids.map((id, index) => {
    const source = `%%llm\n${id}`;
    const after = index > 0 ? `turn-${ids[index - 1]}` : null;
    return new Cell(id, source, [{ version: 1, ...usage(`turn-${id}`, after, source) }]);
  });
}

let frames: (() => void)[] = [];

function frame(): void {
  const [run] = [frames];
  frames = [];
  run.forEach(each => each());
}

beforeEach(() => {
  frames = [];
  vi.stubGlobal('requestAnimationFrame', (each: () => void) => frames.push(each));
  vi.stubGlobal('cancelAnimationFrame', () => (frames = []));
});

describe('a conversation', () => {
  it('makes all below an edited cell stale in the next frame', () => {
    const cells = asked('a', 'b', 'c');
    const { told, kinds } = opened(...cells);
    frame();
    expect(kinds()).toEqual(['fresh', 'fresh', 'fresh']);
    expect(told.splice(0)).toEqual([['a', 'b', 'c']]);
    cells[1]!.write('%%llm\nb?');
    frame();
    expect(kinds()).toEqual(['fresh', 'edited', 'outdated']);
    expect(told.splice(0)).toEqual([['b', 'c']]);
    cells[1]!.write('%%llm\nb');
    frame();
    expect(kinds()).toEqual(['fresh', 'fresh', 'fresh']);
  });

  it('knows a cell that was opened edited, ran, and was edited again', () => {
    const [a] = asked('a') as [Cell];
    a.source = '%%llm\nanother';
    const { kinds } = opened(a);
    frame();
    expect(kinds()).toEqual(['edited']);
    a.write('%%llm\na');
    frame();
    expect(kinds()).toEqual(['fresh']);
    a.replies = [{ version: 1, ...usage('turn-2', null, '%%llm\nanother') }];
    a.write('%%llm\nanother');
    frame();
    expect(kinds()).toEqual(['fresh']);
    a.write('%%llm\na');
    frame();
    expect(kinds()).toEqual(['edited']);
  });

  it('looks at no other cell, and tells of none, for keys that change no state', () => {
    const [a, b, c] = asked('a', 'b', 'c') as [Cell, Cell, Cell];
    const { conversation, told, kinds } = opened(a, b, c);
    b.write('%%llm\nb, edited');
    frame();
    told.length = 0;
    const before = conversation.states;
    [a, c].forEach(cell => cell.sharedModel.getSource.mockClear());
    b.getMetadata.mockClear();
    b.write('%%llm\nb, edited again');
    frame();
    expect(told).toEqual([['b']]);
    expect(conversation.states).toBe(before);
    expect(a.sharedModel.getSource).not.toHaveBeenCalled();
    expect(c.sharedModel.getSource).not.toHaveBeenCalled();
    expect(b.getMetadata).not.toHaveBeenCalled();
    expect(kinds()).toEqual(['fresh', 'edited', 'outdated']);
  });

  it('tells nothing of cells that do not ask, until one of them does', () => {
    const [one, two] = [new Cell('1', 'x = 1'), new Cell('2', 'y = 2')];
    const { conversation, told, insert, kinds } = opened(one, two);
    frame();
    told.length = 0;
    const before = conversation.states;
    one.write('x = 11');
    frame();
    expect(told).toEqual([]);
    expect(conversation.states).toBe(before);
    one.write('%%llm\nx = 11');
    frame();
    expect(told.splice(0)).toEqual([['1']]);
    expect(kinds()).toEqual(['new']);
    one.write('x = 11');
    frame();
    expect(told.splice(0)).toEqual([['1']]);
    expect(kinds()).toEqual([]);
    insert(1, asked('a')[0]!);
    frame();
    expect(told).toEqual([['a']]);
    expect(kinds()).toEqual(['fresh']);
  });

  it('tells that a cell runs, and that it did, whatever it is and however short it takes', () => {
    const load = new Cell('1', '%llm load demo');
    const { told } = opened(load, ...asked('a'));
    frame();
    told.length = 0;
    load.run('running');
    frame();
    load.run('idle');
    frame();
    expect(told.splice(0)).toEqual([[], []]);
    load.run('running');
    load.run('idle');
    frame();
    expect(told).toEqual([[]]);
  });

  it('has the same state after a notebook was trusted, which makes all outputs anew', () => {
    const [a, b] = asked('a', 'b') as [Cell, Cell];
    const { conversation } = opened(a, b);
    frame();
    const before = conversation.states.get('b')!;
    b.replies = structuredClone(b.replies);
    b.contentChanged.emit(undefined);
    frame();
    expect(conversation.states.get('b')).toBe(before);
    a.write('%%llm\na, edited');
    frame();
    expect(conversation.states.get('b')!.usage).toBe(before.usage);
  });

  it('gives a cell back its own image, though another cell has one of that name', () => {
    const withImage = (id: string, data: string) => {
      const cell = new Cell(id, '%%llm\n![](attachment:x.png)');
      cell.metadata = { attachments: { 'x.png': { 'image/png': data } } };
      return cell;
    };
    const [a, b] = [withImage('a', 'AAAA'), withImage('b', 'BBBB')];
    const { conversation, save } = opened(a, b);
    frame();
    const { source } = a;
    a.write('%%llm\n');
    frame();
    save();
    frame();
    expect(a.metadata).toBeUndefined();
    a.write(source);
    frame();
    const { attachments } = conversation.cells()[0]!;
    expect(attachments.get('x.png')!.data).toBe('AAAA');
  });

  it('saves every image that the text names, seen as a reference or not', () => {
    const cell = new Cell('a', '%%llm\n![x[0]](attachment:a.png) ![](attachment:b%20c.png d)');
    const image = { 'image/png': 'AAAA' };
    cell.metadata = { attachments: { 'a.png': image, 'b c.png': image, 'd.png': image } };
    const { save } = opened(cell);
    frame();
    save();
    expect(cell.metadata).toEqual({ attachments: { 'a.png': image, 'b c.png': image } });
  });

  it('follows both of two cells with one id, as cut, undo and paste leave them', () => {
    const [a, b] = asked('a', 'b') as [Cell, Cell];
    const [copy] = asked('a') as [Cell];
    const { conversation, insert, remove, kinds } = opened(a, b);
    frame();
    insert(2, copy);
    frame();
    a.write('%%llm\na, edited');
    expect(conversation.cells().map(cell => cell.source)).toEqual([a.source, b.source, '%%llm\na']);
    frame();
    expect(conversation.states.get('b')!.kind).toBe('outdated');
    remove(2);
    frame();
    expect(kinds()).toEqual(['edited', 'outdated']);
  });

  it('notices inserted cells and those that begin to see nothing', () => {
    const [a] = asked('a') as [Cell];
    const source = '%%llm --fresh\nb';
    const reply = { version: 1, joins: false, ...usage('turn-b', null, source) };
    const b = new Cell('b', source, [reply]);
    const { kinds, insert } = opened(a, b);
    frame();
    expect(kinds()).toEqual(['fresh', 'fresh']);
    insert(0, asked('n')[0]!);
    frame();
    expect(kinds()).toEqual(['fresh', 'outdated', 'fresh']);
  });

  it('goes on from what a cell showed until its kernel goes away', () => {
    const [a, b] = asked('a', 'b') as [Cell, Cell];
    const { conversation, kinds } = opened(a, b);
    const { replies } = a;
    const shows = (now: object[]) => {
      a.replies = now;
      a.run('idle');
      frame();
    };
    frame();
    shows([]);
    expect(kinds()).toEqual(['new', 'outdated']); // nobody told the kernel of it
    shows(replies);
    conversation.kernelHas(['turn-a']);
    shows([]);
    expect(kinds()).toEqual(['new', 'fresh']);
    conversation.kernelLost('turn-a'); // forgotten in the panel
    frame();
    expect(kinds()).toEqual(['new', 'outdated']);
    conversation.kernelHas(['turn-a']);
    shows([]);
    expect(kinds()).toEqual(['new', 'fresh']);
    conversation.kernelGone();
    frame();
    expect(kinds()).toEqual(['new', 'outdated']);
    shows(replies); // undone, or the file was loaded again
    conversation.kernelGone();
    shows([]);
    expect(kinds()).toEqual(['new', 'outdated']);
    shows([{ ...replies[0], turn: 'turn-a2' }]); // it ran
    b.replies = [{ ...b.replies[0], after: 'turn-a2' }];
    b.run('idle');
    shows([]);
    expect(kinds()).toEqual(['new', 'fresh']);
  });

  it('has the states that a look at all cells gives, and told of each, whatever happens', () => {
    let seed = 1;
    const below = (most: number) => (seed = (seed * 48271) % 0x7fffffff) % most;
    const { conversation, list } = opened();
    let number = 0;
    const made = (source: string) => new Cell(`${number++}`, source);
    const run = (cell: Cell) => {
      const above = list.slice(0, list.indexOf(cell)).flatMap(each => each.replies);
      const after = (above.at(-1) as { turn: string } | undefined)?.turn ?? null;
      const stop = ['end', 'end', 'replayed', 'interrupt'][below(4)];
      const turn = stop === 'interrupt' ? null : `${cell.source} after ${after}`;
      const more = { version: 1, generated: { tokens: 1, ms: 1, stop }, joins: below(4) > 0 };
      cell.replies = cell.source.startsWith('%%') ? [usage(turn, after, cell.source, more)] : [];
      cell.run('idle');
    };
    const texts = ['%%llm\nx', '%%llm\ny', '%%llm --fresh\nx', 'x = 1', '%llm load demo'];
    const happens: ((cell: Cell) => void)[] = [
      cell => cell.write(texts[below(texts.length)]!),
      cell => cell.write(texts[below(2)]!),
      run,
      run,
      cell => cell.run('running'),
      cell => ((cell.replies = []), cell.run('running')),
      cell => ((cell.replies = structuredClone(cell.replies)), cell.contentChanged.emit(undefined)),
      cell => list.splice(list.indexOf(cell), 1),
      cell => {
        // Moved: the same cell, as another model.
        const moved = new Cell(cell.id, cell.source, structuredClone(cell.replies));
        list.splice(list.indexOf(cell), 1);
        list.splice(below(list.length + 1), 0, moved);
      },
      () => list.splice(below(list.length + 1), 0, made(texts[below(texts.length)]!))
    ];
    const drawn = new WeakMap<object, unknown>();
    conversation.changed.connect((_, changed) =>
      changed.forEach(cell => drawn.set(cell, conversation.states.get(cell.id)))
    );
    for (let step = 0; step < 600; step++) {
      const before = [...list];
      const cell = before[below(before.length || 1)];
      if (cell === undefined || before.length < 4) {
        list.unshift(made('%%llm\nx'));
      } else {
        happens[below(happens.length)]!(cell);
      }
      if (before.length !== list.length || before.some((each, index) => each !== list[index])) {
        list.changed.emit(undefined);
      }
      if (below(3) === 0) {
        frame();
        const expected = freshness(conversation.cells().map(facts => outline(facts)));
        expect(conversation.states).toEqual(expected);
        expect(list.map(each => drawn.get(each))).toEqual(list.map(({ id }) => expected.get(id)));
      }
    }
  });
});
