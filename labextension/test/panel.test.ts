import { renderToStaticMarkup } from 'react-dom/server';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { IKernelState, ITurn } from '../src/kernelstate';
import { TurnsPanel } from '../src/panel';

vi.mock('@jupyterlab/ui-components', () => ({ LabIcon: class {} }));
vi.mock('@jupyterlab/apputils', () => ({
  UseSignal: () => null,
  ReactWidget: class {
    title = {};
    node = { setAttribute: () => undefined, focus: () => focus(this.node), querySelectorAll: rows };
    addClass = () => undefined;
    isVisible = true;
    onActivateRequest(): void {}
    onAfterAttach(): void {}
    onAfterDetach(): void {}
    onAfterHide(): void {}
    onAfterShow(): void {}
  }
}));
vi.mock('../src/panelmodel', () => ({}));

let turns: { dataset: object; querySelector: () => object }[] = [];
const rows = () => turns;
const focus = (node: object) => vi.stubGlobal('document', { activeElement: node });

/** A row that shows the turn of a cell. */
function row(cell: string) {
  const button = { cell, focus: () => focus(button) };
  return { dataset: { cell }, querySelector: () => button };
}

/** A panel in which these cells' turns are drawn. */
function opened(activeCell: string) {
  const model = { state: {} as IKernelState, activeCell, refresh: vi.fn(), isActive: false };
  const panel = new TurnsPanel(model as unknown as ConstructorParameters<typeof TurnsPanel>[0]);
  const reached = panel as unknown as {
    render(): React.ReactElement<{ children: () => React.ReactElement<Drawn> }>;
    onActivateRequest(): void;
    onAfterAttach(): void;
    onAfterDetach(): void;
    onAfterHide(): void;
    onAfterShow(): void;
  };
  const draw = (...cells: string[]) => {
    turns = cells.map(row);
    reached.render().props.children().props.onDrawn(model.state);
  };
  return { model, panel, reached, draw, activate: () => reached.onActivateRequest() };
}

interface Drawn {
  onDrawn: (state: IKernelState | null) => void;
}

beforeEach(() => focus({}));

describe('the panel of turns', () => {
  it('waits for the kernel before the focus goes to a turn: what is drawn may be old', () => {
    const { model, panel, draw, activate } = opened('c');
    draw('a', 'b');
    activate();
    draw('a', 'b');
    expect(document.activeElement).toBe(panel.node);
    expect(model.refresh).toHaveBeenCalledOnce();
    model.state = {} as IKernelState;
    draw('a', 'b', 'c', 'd');
    expect(document.activeElement).toMatchObject({ cell: 'c' });
  });

  it('does not call back who went elsewhere meanwhile', () => {
    const { model, panel, draw, activate } = opened('a');
    activate();
    const elsewhere = {};
    focus(elsewhere);
    model.state = {} as IKernelState;
    draw('a');
    expect(document.activeElement).toBe(elsewhere);
    panel.node.focus();
    draw('a');
    expect(document.activeElement).toBe(panel.node);
  });

  it('is active as long as it can be seen', () => {
    const { model, reached } = opened('a');
    reached.onAfterShow();
    expect(model.isActive).toBe(true);
    reached.onAfterDetach();
    expect(model.isActive).toBe(false);
    reached.onAfterAttach();
    expect(model.isActive).toBe(true);
    reached.onAfterHide();
    expect(model.isActive).toBe(false);
  });

  it('goes to no cell that is not in the notebook', () => {
    const { model, reached } = opened('a');
    const known = { parent: null, reply: '', tokens: 1, images: 0, bytes: {}, tiers: [] };
    const turn = (cell: string | null) =>
      ({ ...known, turn: `of ${cell}`, cell, question: `${cell}?` }) as unknown as ITurn;
    const turns = [turn('a'), turn('deleted'), turn(null)];
    Object.assign(model, {
      state: { model: 'demo', turns, context: null, memory: null, disk: null },
      conversation: { cell: (id: string) => (id === 'a' ? {} : undefined) },
      staleFrom: () => new Map()
    });
    const drawn = renderToStaticMarkup(reached.render().props.children());
    const buttons = [...drawn.matchAll(/<button[^>]*llm-Turn-go[^>]*>/g)].map(([button]) => button);
    expect(buttons.map(button => /aria-disabled="(\w+)"/.exec(button)![1])).toEqual([
      'false',
      'true',
      'true'
    ]);
    expect(buttons.map(button => /title="([^"]+)"/.exec(button)![1])).toEqual([
      'Go to the cell',
      'Its cell is not in the notebook',
      'Its cell is not in the notebook'
    ]);
  });
});
