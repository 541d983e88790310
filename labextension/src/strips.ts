import { Cell, ICellModel } from '@jupyterlab/cells';
import { NotebookPanel } from '@jupyterlab/notebook';
import { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';
import { PanelLayout } from '@lumino/widgets';
import { Conversation } from './conversation';
import { ILimits, Limits } from './limits';
import { Strip } from './strip';

/** The strips of one panel's cells; cells that do not ask have none. */
export class Strips implements IDisposable {
  constructor(
    private _panel: NotebookPanel,
    private _conversation: Conversation,
    private _limits: Limits
  ) {
    _conversation.changed.connect(this._onChanged, this);
    _limits.changed.connect(this._onLimits, this);
    this._refresh(() => true);
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    Signal.clearData(this);
    for (const widget of this._panel.content.widgets) {
      this._strips.get(widget)?.dispose();
    }
  }

  private _onChanged(_: unknown, cells: ReadonlySet<ICellModel>): void {
    this._refresh(cell => cells.has(cell.model));
  }

  private _onLimits(_: unknown, __: ILimits): void {
    this._refresh(() => true);
  }

  private _refresh(needed: (cell: Cell) => boolean): void {
    for (const cell of this._panel.content.widgets) {
      if (cell.model.type === 'code' && needed(cell)) {
        this._draw(cell);
      }
    }
  }

  private _draw(cell: Cell): void {
    const wanted = this._conversation.states.has(cell.model.id);
    const strip = this._strips.get(cell);
    if (wanted && strip !== undefined) {
      strip.refresh(this._limits.current.badge);
    } else if (wanted && !cell.inputArea) {
      this._later(cell);
    } else if (wanted) {
      this._add(cell);
    } else if (strip !== undefined) {
      strip.dispose();
      this._strips.delete(cell);
    }
  }

  /** A cell far from what is seen has no editor yet. */
  private _later(cell: Cell): void {
    if (!this._waiting.has(cell)) {
      this._waiting.add(cell);
      void cell.ready.then(() => {
        if (!cell.isDisposed && !this._isDisposed) {
          this._draw(cell);
        }
      });
    }
  }

  private _add(cell: Cell): void {
    const layout = cell.layout as PanelLayout;
    const input = layout.widgets.findIndex(widget => widget.hasClass('jp-Cell-inputWrapper'));
    const strip = new Strip(this._conversation, cell);
    layout.insertWidget(input + 1, strip);
    this._strips.set(cell, strip);
    strip.refresh(this._limits.current.badge);
  }

  private _strips = new WeakMap<Cell, Strip>();
  private _waiting = new WeakSet<Cell>();
  private _isDisposed = false;
}
