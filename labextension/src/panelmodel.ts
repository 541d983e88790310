import { Dialog, ISessionContext, Notification, showDialog, VDomModel } from '@jupyterlab/apputils';
import { ICodeCellModel } from '@jupyterlab/cells';
import { IOutput } from '@jupyterlab/nbformat';
import { NotebookPanel } from '@jupyterlab/notebook';
import { JSONObject } from '@lumino/coreutils';
import { Conversation } from './conversation';
import { Conversations } from './conversations';
import { runStale } from './commands';
import { describe } from './describe';
import { isStale } from './freshness';
import { AGAIN, IKernelState, ITurn, IVersion, KernelState } from './kernelstate';

/** What the panel shows of the notebook in front, kept up to date while it can be seen. */
export class PanelModel extends VDomModel {
  constructor(private _conversations: Conversations) {
    super();
    _conversations.tracker.currentChanged.connect(this._onPanel, this);
    _conversations.opened.connect(this._onPanel, this);
    this._onPanel();
  }

  /** null as long as no kernel with llmagic has answered. */
  state: IKernelState | null = null;
  /** The turn whose cell's versions are shown, and these. */
  versions: { cell: string; list: IVersion[] } | null = null;

  get conversation(): Conversation | undefined {
    return this._conversations.of(this._panel);
  }

  /** Whether anybody looks. */
  get isActive(): boolean {
    return this._isActive;
  }

  set isActive(active: boolean) {
    this._isActive = active;
    if (active) {
      void this.refresh();
    }
  }

  /** Ask the kernel again. */
  async refresh(): Promise<void> {
    const [kernel, conversation] = [this._kernel, this.conversation];
    if (!this._isActive || kernel === null || conversation === undefined) {
      return;
    }
    if (this._isAsking) {
      this._isLate = true;
      return;
    }
    this._isAsking = true;
    const asking = conversation.cells().filter(cell => conversation.states.has(cell.id));
    let state: unknown = this.state;
    try {
      state = asking.length
        ? await kernel.ask({
            type: 'state',
            notebook: conversation.path,
            sources: Object.fromEntries(asking.map(cell => [cell.id, cell.source]))
          })
        : null;
    } catch (error) {
      console.error('llmagic: the kernel did not tell its state', error);
    }
    this._isAsking = false;
    if (kernel === this._kernel) {
      this.state = state as IKernelState | null;
      this.stateChanged.emit();
      void this._readVersions(kernel, conversation);
    }
    if (this._isLate) {
      this._isLate = false;
      void this.refresh();
    } else if (this.state?.busy) {
      this._later(AGAIN); // nothing tells when the cell that runs is done
    }
  }

  /** A list that is open changes when its cell runs, and when a turn is forgotten. */
  private async _readVersions(kernel: KernelState, { path }: Conversation): Promise<void> {
    const cell = this.versions?.cell;
    if (cell === undefined || this.state === null || this.state.busy) {
      return;
    }
    try {
      const found = await kernel.ask({ type: 'versions', cell, notebook: path });
      // Meanwhile it may have been closed, and another cell have begun to run.
      if (found?.type === 'versions' && kernel === this._kernel && this.versions?.cell === cell) {
        this.versions = { cell, list: found.versions as unknown as IVersion[] };
        this.stateChanged.emit();
      }
    } catch (error) {
      console.error('llmagic: the kernel did not tell the versions of a cell', error);
    }
  }

  /** What the kernel does, in a few words. */
  get doing(): string {
    for (const [id, state] of this.conversation?.states ?? []) {
      if (state.kind === 'running') {
        const number = (this.conversation?.cells() ?? []).findIndex(cell => cell.id === id) + 1;
        return `Cell ${number}: ${describe(state).figures}`;
      }
    }
    return this.state?.busy ? 'running a cell' : 'idle';
  }

  /** How many cells are stale from each cell on, by its id. */
  staleFrom(): Map<string, number> {
    const { conversation } = this;
    const found = new Map<string, number>();
    let stale = 0;
    for (const { id } of (conversation?.cells() ?? []).reverse()) {
      const state = conversation?.states.get(id);
      stale += Number(state !== undefined && isStale(state.kind));
      found.set(id, stale);
    }
    return found;
  }

  /** The id of the cell that the notebook would run. */
  get activeCell(): string | undefined {
    return this._panel?.content.activeCell?.model.id;
  }

  /** Bring a turn's cell into view. */
  goTo(turn: ITurn): void {
    const index = this._index(turn.cell);
    if (this._panel !== null && index >= 0) {
      this._panel.content.activeCellIndex = index;
      this._panel.content.deselectAll();
      void this._panel.content.scrollToItem(index, 'smart');
      this._panel.activate();
    }
  }

  /** Run the stale cells from a turn's cell on. */
  async runFrom(turn: ITurn): Promise<void> {
    const index = this._index(turn.cell);
    if (this._panel !== null && index >= 0) {
      await runStale(this._panel, this._conversations, index);
    }
  }

  async forget(turn: ITurn, name: string): Promise<void> {
    const answer = await showDialog({
      title: `Forget ${name}?`,
      body: 'Its reply and its state are dropped for good. The notebook itself is not changed.',
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: 'Forget' })]
    });
    if (answer.button.accept) {
      const conversation = this.conversation;
      if ((await this._tell({ type: 'forget', turn: turn.turn })) !== null) {
        conversation?.kernelLost(turn.turn);
      }
    }
  }

  async pin(turn: ITurn): Promise<void> {
    await this._tell({ type: 'pin', turn: turn.turn, pinned: !turn.pinned });
  }

  /** Show or hide the earlier versions of a turn's cell. */
  async showVersions(turn: ITurn): Promise<void> {
    const cell = turn.cell;
    if (this.versions?.cell === cell || cell === null) {
      this.versions = null;
    } else {
      const conversation = this.conversation;
      const found = await this._tell({ type: 'versions', cell });
      if (conversation !== this.conversation) {
        return;
      }
      const list = (found?.versions ?? []) as unknown as IVersion[];
      this.versions = found === null ? null : { cell, list };
    }
    this.stateChanged.emit();
  }

  /** Give a cell an earlier version of itself: its source and its reply. */
  async restore(cell: string, version: IVersion): Promise<void> {
    const conversation = this.conversation;
    const found = await this._tell({ type: 'restore', cell, turn: version.turn });
    // While the kernel was busy the cell may have been moved, which makes another model of it.
    const model = conversation?.cell(cell) as ICodeCellModel | undefined;
    if (found?.type === 'restored' && model !== undefined) {
      model.sharedModel.setSource(String(found.source));
      const output = { output_type: 'display_data', ...(found.output as JSONObject) };
      model.sharedModel.setOutputs([output as unknown as IOutput]);
      // JupyterLab marks cells that read otherwise than they ran.
      (model as { isDirty: boolean }).isDirty = false;
    }
    if (conversation === this.conversation) {
      this.versions = null;
      this.stateChanged.emit();
    }
  }

  private async _tell(request: JSONObject): Promise<JSONObject | null> {
    const later = () =>
      Notification.info('The kernel is busy; this will be done after the running cell.', {
        autoClose: 5000
      });
    try {
      if (this._kernel === null) {
        return null;
      }
      // Another notebook's cell may be the one that ran last.
      request = { ...request, notebook: this.conversation?.path ?? null };
      if (request.type === 'versions' || request.type === 'restore') {
        return await this._kernel.askUntilAnswered(request, later);
      }
      const answer = await this._kernel.ask(request);
      if (answer?.type === 'later') {
        later();
      }
      return answer;
    } catch (error) {
      Notification.error(error instanceof Error ? error.message : String(error), {
        autoClose: false
      });
      return null;
    } finally {
      void this.refresh();
    }
  }

  private _index(cell: string | null): number {
    return this._panel?.content.widgets.findIndex(({ model }) => model.id === cell) ?? -1;
  }

  private _onPanel(): void {
    const panel = this._conversations.tracker.currentWidget;
    const conversation = this._conversations.of(panel);
    if (panel === this._panel && conversation === this._followed) {
      return;
    }
    this._followed?.changed.disconnect(this._onChanged, this);
    this._kernel?.giveUp();
    this._panel = panel;
    this._followed = conversation;
    this._kernel = panel && this._kernelOf(panel.sessionContext);
    conversation?.changed.connect(this._onChanged, this);
    this._clear();
    void this.refresh();
  }

  private _kernelOf(session: ISessionContext): KernelState {
    let kernel = this._kernels.get(session);
    if (kernel === undefined) {
      kernel = new KernelState(session, () => this._onLost(session));
      this._kernels.set(session, kernel);
    }
    return kernel;
  }

  private _onLost(session: ISessionContext): void {
    if (session === this._panel?.sessionContext) {
      this._clear();
      this._later(500);
    }
  }

  private _clear(): void {
    this.state = null;
    this.versions = null;
    this.stateChanged.emit();
  }

  /** The kernel is asked at most twice a second. */
  private _onChanged(): void {
    this._later(500);
  }

  private _later(milliseconds: number): void {
    this._timer ??= window.setTimeout(() => {
      this._timer = undefined;
      void this.refresh();
    }, milliseconds);
  }

  private _panel: NotebookPanel | null = null;
  private _followed: Conversation | undefined;
  private _kernel: KernelState | null = null;
  private _kernels = new WeakMap<ISessionContext, KernelState>();
  private _isActive = false;
  private _isAsking = false;
  private _isLate = false;
  private _timer: number | undefined;
}
