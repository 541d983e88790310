import { Notification } from '@jupyterlab/apputils';
import { CodeEditor } from '@jupyterlab/codeeditor';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ISignal, Signal } from '@lumino/signaling';
import { Conversation } from './conversation';
import { Limits } from './limits';
import { Requests } from './requests';
import { Strips } from './strips';

/** The open notebooks; two views of one notebook share one conversation. */
export class Conversations {
  constructor(
    readonly tracker: INotebookTracker,
    readonly limits: Limits
  ) {
    tracker.widgetAdded.connect((_, panel) => void this._open(panel));
    tracker.forEach(panel => void this._open(panel));
  }

  /** Emitted when a notebook is loaded and followed. */
  get opened(): ISignal<this, NotebookPanel> {
    return this._openedSignal;
  }

  /** The conversation of a panel, once its notebook is loaded. */
  of(panel: NotebookPanel | null): Conversation | undefined {
    return panel === null ? undefined : this._opened.get(panel.context)?.conversation;
  }

  /** The conversation that a cell belongs to. */
  holding(model: CodeEditor.IModel & { id?: string }): Conversation | undefined {
    for (const { conversation } of this._opened.values()) {
      if (model.id !== undefined && conversation.cell(model.id) === (model as unknown)) {
        return conversation;
      }
    }
    return undefined;
  }

  private async _open(panel: NotebookPanel): Promise<void> {
    await panel.context.ready;
    if (panel.isDisposed) {
      return;
    }
    const { context, sessionContext } = panel;
    let opened = this._opened.get(context);
    if (opened === undefined) {
      const conversation = new Conversation(context);
      const requests = new Requests(conversation, sessionContext, warnTooLarge);
      opened = { conversation, requests };
      this._opened.set(context, opened);
      context.disposed.connect(() => {
        conversation.dispose();
        requests.dispose();
        this._opened.delete(context);
      });
    }
    const strips = new Strips(panel, opened.conversation, this.limits);
    panel.disposed.connect(() => strips.dispose());
    this._openedSignal.emit(panel);
  }

  private _openedSignal = new Signal<this, NotebookPanel>(this);
  private _opened = new Map<
    NotebookPanel['context'],
    { conversation: Conversation; requests: Requests }
  >();
}

function warnTooLarge(names: string[]): void {
  Notification.error(
    `The images of this cell are more than fits into one message: ${names.join(', ')} did not go ` +
      'with it. Run the cell again to send the rest. What is too large for a message of its own can ' +
      'be put beside the notebook and referred to by its path.',
    { autoClose: false }
  );
}
