import { ICellModel, ICodeCellModel } from '@jupyterlab/cells';
import { DocumentRegistry } from '@jupyterlab/docregistry';
import { INotebookModel } from '@jupyterlab/notebook';
import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';
import { attachmentsOf, setAttachments } from './attachments';
import { ImageDigests } from './digest';
import { freshness, IOutline, isSame, outline } from './freshness';
import { finished } from './snapshot';
import { asks, mentions, references } from './source';
import { Attachments, IAttachment, ICellFacts, ICellState, IUsage } from './tokens';
import { runningOf, usageOf } from './usage';

/**
 * One notebook as a conversation: what is known of its cells, and how each stands.
 *
 * Facts of a cell are read again in the frame after it changed. The others are looked at only if
 * its outline changed, or the list of cells: nearly every key that is typed changes neither.
 */
export class Conversation implements IDisposable {
  constructor(readonly context: DocumentRegistry.IContext<INotebookModel>) {
    this.model.cells.changed.connect(this._onCells, this);
    context.saveState.connect(this._onSave, this);
    this._onCells();
  }

  readonly digests = new ImageDigests();

  get model(): INotebookModel {
    return this.context.model;
  }

  /** The notebook's path, without the drive. */
  get path(): string {
    return this.context.localPath;
  }

  /**
   * Emitted after the state, the text or the images of cells that ask changed, with these; also
   * after the list of cells changed, or any cell began or ended to run.
   */
  get changed(): ISignal<this, ReadonlySet<ICellModel>> {
    return this._changed;
  }

  /** How each cell that asks stands. */
  get states(): ReadonlyMap<string, ICellState> {
    return this._states;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** All cells, in document order. */
  cells(): ICellFacts[] {
    return Array.from(this.model.cells, cell => this.facts(cell));
  }

  /** The model of a cell; undefined if it is not in this notebook (any more). */
  cell(id: string): ICellModel | undefined {
    return this._models.get(id);
  }

  /** What is known about a cell. */
  facts(cell: ICellModel): ICellFacts {
    let facts = this._facts.get(cell);
    if (facts === undefined) {
      const before = this._shown.get(cell.id);
      facts = read(cell, this._attachmentsOf(cell), before ?? []);
      const turn = facts.shown.at(-1)?.turn;
      if (before !== undefined && turn !== before.at(-1)?.turn) {
        this.kernelHas([turn]); // it came just now
      }
      facts.counts = this._inKernel.has(turn);
      this._shown.set(cell.id, facts.shown);
      this._facts.set(cell, facts);
    }
    return facts;
  }

  /** Any image of this name that the notebook has or had since it was opened. */
  image(name: string): IAttachment | undefined {
    return this._pool.get(name);
  }

  /** Put images into a code cell. */
  attach(cell: ICellModel, images: Attachments): void {
    setAttachments(cell, new Map([...attachmentsOf(cell), ...images]));
  }

  /** The kernel was told of these turns, or gave them. */
  kernelHas(turns: Iterable<unknown>): void {
    for (const turn of turns) {
      this._inKernel.add(turn);
    }
  }

  /** The kernel forgot a turn: what ran below it since stands on the one above. */
  kernelLost(turn: string): void {
    this._inKernel.delete(turn);
    this._followed.forEach(cell => this._onCell(cell));
  }

  /** The kernel went away: another one knows of no turn before a cell runs that shows it. */
  kernelGone(): void {
    this._inKernel.clear();
    this._followed.forEach(cell => this._onCell(cell));
  }

  /** Bring everything up to date now, and not in the next frame. */
  update(): void {
    if (this._frame !== null) {
      cancelAnimationFrame(this._frame);
      this._frame = null;
    }
    const [dirty, isListChanged, isRun] = [this._dirty, this._isListChanged, this._isRun];
    this._dirty = new Set();
    this._isListChanged = false;
    this._isRun = false;
    const changed = new Set<ICellModel>();
    let isAnyElse = isListChanged;
    for (const cell of dirty) {
      if (this._followed.has(cell)) {
        this._adopt(cell);
        const before = this._outlines.get(cell);
        const now = outline(this.facts(cell), before);
        if (now.asks) {
          changed.add(cell);
        }
        if (before === undefined || !isSame(before, now)) {
          this._outlines.set(cell, now);
          isAnyElse = true;
        }
      }
    }
    if (isAnyElse) {
      this._judge(changed);
    }
    if (changed.size > 0 || isListChanged || isRun) {
      this._changed.emit(changed);
    }
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    if (this._frame !== null) {
      cancelAnimationFrame(this._frame);
    }
    for (const cell of this._followed) {
      this._disconnect(cell);
    }
    Signal.clearData(this);
  }

  /** Find out how each cell stands, and add those that stand otherwise than before. */
  private _judge(changed: Set<ICellModel>): void {
    const before = this._states;
    this._states = freshness(Array.from(this._followed, cell => this._outlines.get(cell)!));
    for (const cell of this._followed) {
      const [then, now] = [before.get(cell.id), this._states.get(cell.id)];
      if (
        then?.kind !== now?.kind ||
        then?.usage !== now?.usage ||
        then?.running !== now?.running
      ) {
        changed.add(cell);
      } else if (then !== undefined) {
        this._states.set(cell.id, then); // so that the same state is the same object
      }
    }
  }

  /** Those of a code cell are in its metadata: a change of its text leaves them as they are. */
  private _attachmentsOf(cell: ICellModel): Attachments {
    let attachments = cell.type === 'code' ? this._attachments.get(cell) : undefined;
    if (attachments === undefined) {
      attachments = attachmentsOf(cell);
      this._attachments.set(cell, attachments);
      this._had.set(cell, new Map([...(this._had.get(cell) ?? []), ...attachments]));
      attachments.forEach((attachment, name) => {
        this._pool.set(name, attachment);
        this.digests.prepare(attachment.data);
      });
    }
    return attachments;
  }

  private _onCells(): void {
    const cells = new Set(this.model.cells);
    for (const cell of this._followed) {
      if (!cells.has(cell)) {
        this._disconnect(cell);
      }
    }
    for (const cell of cells) {
      if (!this._followed.has(cell)) {
        this._connect(cell);
        this._dirty.add(cell);
      }
    }
    this._followed = cells;
    this._models = new Map(Array.from(cells, cell => [cell.id, cell] as const));
    this._isListChanged = true;
    this._schedule();
  }

  private _connect(cell: ICellModel): void {
    cell.contentChanged.connect(this._onCell, this);
    cell.stateChanged.connect(this._onState, this);
    cell.metadataChanged.connect(this._onMetadata, this);
  }

  private _disconnect(cell: ICellModel): void {
    cell.contentChanged.disconnect(this._onCell, this);
    cell.stateChanged.disconnect(this._onState, this);
    cell.metadataChanged.disconnect(this._onMetadata, this);
  }

  private _onCell(cell: ICellModel): void {
    this._facts.delete(cell);
    this._dirty.add(cell);
    this._schedule();
  }

  /** Whatever a cell is, it may have changed what the kernel keeps. */
  private _onState(cell: ICellModel, { name }: { name: string }): void {
    this._isRun ||= name === 'executionState';
    this._onCell(cell);
  }

  private _onMetadata(cell: ICellModel): void {
    this._attachments.delete(cell);
    this._onCell(cell);
  }

  private _schedule(): void {
    // Without a frame to come (a hidden tab), the next look brings everything up to date.
    this._frame ??= requestAnimationFrame(() => {
      this._frame = null;
      this.update();
    });
  }

  /** A text that was undone, split, merged or pasted refers to images that another cell had. */
  private _adopt(cell: ICellModel): void {
    const facts = this.facts(cell);
    if (facts.type !== 'code' || !asks(facts.source)) {
      return;
    }
    const found = new Map<string, IAttachment>();
    for (const name of facts.images) {
      const image = this._had.get(cell)?.get(name) ?? this._pool.get(name);
      if (!facts.attachments.has(name) && image !== undefined && !this._isInMarkdown(name)) {
        found.set(name, image);
      }
    }
    if (found.size > 0) {
      this.attach(cell, found);
    }
  }

  private _isInMarkdown(name: string): boolean {
    return this.cells().some(cell => cell.type !== 'code' && cell.attachments.has(name));
  }

  /**
   * Images that the text does not name are not saved; undoing brings them back. A name is enough:
   * what is dropped is lost, and the kernel may find a reference that is not seen here.
   */
  private _onSave(_: unknown, state: DocumentRegistry.SaveState): void {
    if (state !== 'started') {
      return;
    }
    for (const cell of this.model.cells) {
      const { type, attachments, images, source } = this.facts(cell);
      if (type === 'code' && attachments.size > 0) {
        const kept = [...attachments].filter(
          ([name]) => images.includes(name) || mentions(source, name)
        );
        if (kept.length < attachments.size) {
          setAttachments(cell, new Map(kept));
        }
      }
    }
  }

  /** All cells, in document order; two may have one id. */
  private _followed = new Set<ICellModel>();
  private _models = new Map<string, ICellModel>();
  private _facts = new WeakMap<ICellModel, ICellFacts>();
  private _attachments = new WeakMap<ICellModel, Attachments>();
  /** By id: a cell that is moved becomes another model. */
  private _shown = new Map<string, readonly IUsage[]>();
  private _inKernel = new Set<unknown>();
  /** What each cell has or had: another may have an image of the same name. */
  private _had = new WeakMap<ICellModel, Attachments>();
  private _pool = new Map<string, IAttachment>();
  private _states: Map<string, ICellState> = new Map();
  private _outlines = new WeakMap<ICellModel, IOutline>();
  private _dirty = new Set<ICellModel>();
  private _isListChanged = false;
  private _isRun = false;
  private _frame: number | null = null;
  private _isDisposed = false;
  private _changed = new Signal<this, ReadonlySet<ICellModel>>(this);
}

function read(cell: ICellModel, attachments: Attachments, before: readonly IUsage[]): ICellFacts {
  const code = cell.type === 'code' ? (cell as ICodeCellModel) : null;
  const source = cell.sharedModel.getSource();
  const facts = {
    id: cell.id,
    type: cell.type,
    source,
    images: code === null ? [] : references(source),
    attachments,
    usages: [] as IUsage[],
    shown: before,
    counts: false,
    running: null as ICellFacts['running'],
    executing: code?.executionState === 'running',
    failed: false
  };
  for (let index = 0; index < (code?.outputs.length ?? 0); index++) {
    const output = code!.outputs.get(index);
    const usage = usageOf(output.metadata);
    if (usage !== null) {
      facts.usages.push(usage);
    }
    facts.running = runningOf(output.metadata) ?? facts.running;
    facts.failed ||= output.type === 'error';
  }
  const turns = finished(facts);
  facts.shown = turns.length > 0 ? turns : before;
  return facts;
}
