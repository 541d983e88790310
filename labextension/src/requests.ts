import { ISessionContext } from '@jupyterlab/apputils';
import { Kernel, KernelMessage } from '@jupyterlab/services';
import { JSONObject } from '@lumino/coreutils';
import { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';
import { Conversation } from './conversation';
import { ISnapshot, snapshot } from './snapshot';

/**
 * Sends the notebook with every run of its cells, inside the execute request itself.
 *
 * A request that waits in the kernel's queue so carries the notebook as it was when it was sent,
 * and no other message can overtake it.
 */
export class Requests implements IDisposable {
  /**
   * @param onTooLarge - Told the names of images that did not fit into a message.
   */
  constructor(
    private _conversation: Conversation,
    private _sessionContext: ISessionContext,
    private _onTooLarge: (names: string[]) => void
  ) {
    _sessionContext.kernelChanged.connect(this._onKernel, this);
    _sessionContext.statusChanged.connect(this._onStatus, this);
    this._onKernel();
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    this._unwrap?.();
    Signal.clearData(this);
    this._sessionContext.kernelChanged.disconnect(this._onKernel, this);
    this._sessionContext.statusChanged.disconnect(this._onStatus, this);
  }

  private _onKernel(): void {
    this._delivered.clear();
    const kernel = this._sessionContext.session?.kernel ?? null;
    // After a restart it is the same one, and whoever wrapped it after us would call two of ours.
    if (kernel !== this._kernel) {
      this._conversation.kernelGone();
      this._unwrap?.();
      this._unwrap = kernel && this._wrap(kernel);
      this._kernel = kernel;
    }
  }

  private _onStatus(_: unknown, status: Kernel.Status): void {
    if (status === 'restarting' || status === 'autorestarting' || status === 'dead') {
      this._conversation.kernelGone();
      this._delivered.clear();
    }
  }

  private _wrap(kernel: Kernel.IKernelConnection): () => void {
    const original = kernel.requestExecute;
    const wrapped: typeof original = (content, disposeOnDone, metadata) => {
      const taken = this._take(metadata);
      if (taken === null) {
        return original.call(kernel, content, disposeOnDone, metadata);
      }
      const extended = { ...metadata, llmagic: taken.message };
      const future = original.call(kernel, content, disposeOnDone, extended);
      future.done.then(
        reply => this._onReply(taken, reply),
        () => undefined // the kernel went away, and with it what was sent
      );
      return future;
    };
    kernel.requestExecute = wrapped;
    return () => {
      // Whoever wrapped it after us keeps working: `_take` finds nothing any more.
      if (kernel.requestExecute === wrapped) {
        kernel.requestExecute = original;
      }
    };
  }

  private _take(metadata: JSONObject | undefined): ISnapshot | null {
    const cell = metadata?.cellId;
    if (this._isDisposed || typeof cell !== 'string' || !this._conversation.cell(cell)) {
      return null;
    }
    const start = performance.now();
    const taken = snapshot(
      this._conversation.path,
      this._conversation.cells(),
      cell,
      this._conversation.digests,
      digest => this._delivered.has(digest)
    );
    performance.measure('llmagic:snapshot', { start });
    if (taken !== null) {
      this._conversation.kernelHas(taken.turns);
      if (taken.tooLarge.length > 0) {
        this._onTooLarge(taken.tooLarge);
      }
    }
    return taken;
  }

  private _onReply(taken: ISnapshot, { content }: KernelMessage.IExecuteReplyMsg): void {
    // The kernel takes what came before it looks for an image that did not: the next run brings
    // the rest.
    const isPart =
      content.status === 'error' && content.ename === 'ImageError' && taken.tooLarge.length > 0;
    if (content.status === 'ok' || isPart) {
      taken.sent.forEach(digest => this._delivered.add(digest));
    } else if (content.status === 'error') {
      // Perhaps because bytes are missing: send all of them again.
      this._delivered.clear();
    }
  }

  private _delivered = new Set<string>();
  private _kernel: Kernel.IKernelConnection | null = null;
  private _unwrap: (() => void) | null = null;
  private _isDisposed = false;
}
