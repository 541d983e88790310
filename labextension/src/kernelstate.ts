import { ISessionContext } from '@jupyterlab/apputils';
import { Kernel, KernelMessage } from '@jupyterlab/services';
import { JSONObject, PromiseDelegate } from '@lumino/coreutils';

const TARGET = 'llmagic.panel';

/** Milliseconds until a kernel that was busy is asked again. */
export const AGAIN = 700;

/**
 * Milliseconds after which a kernel that does nothing is not expected to answer any more.
 *
 * Servers drop messages of a kernel that prints too much.
 */
export const LONGEST = 60_000;

/** An amount against what may be used of it, in bytes or tokens. */
export interface IShare {
  used: number;
  budget?: number | null;
  limit?: number | null;
}

/** One turn, as the kernel tells of it. */
export interface ITurn {
  turn: string;
  parent: string | null;
  cell: string | null;
  thread: string;
  joins: boolean;
  number: number | null;
  current: boolean;
  stale: '' | 'edited' | 'above';
  question: string;
  reply: string;
  images: number;
  tokens: number;
  bytes: { memory: number; disk: number };
  tiers: string[];
  pinned: boolean;
}

/** Everything the panel shows. */
export interface IKernelState {
  busy: boolean;
  model: string | null;
  context: IShare | null;
  memory: IShare | null;
  disk: IShare | null;
  turns: ITurn[];
}

/** An earlier version of a cell. */
export interface IVersion {
  turn: string;
  source: string;
  output: JSONObject;
}

interface IWaiting {
  type: string;
  answer: PromiseDelegate<JSONObject | null>;
}

/** Asks the kernel of one notebook about its turns, over a comm that stays open. */
export class KernelState {
  /**
   * @param onLost - Called when the kernel goes away, and when another one comes.
   */
  constructor(
    private _session: ISessionContext,
    private _onLost: () => void
  ) {
    _session.kernelChanged.connect(this._lose, this);
    _session.statusChanged.connect(this._onStatus, this);
  }

  /** Wait for no state any more: nobody looks. What is done to a turn is waited for. */
  giveUp(): void {
    this._waiting.forEach(({ type, answer }) => type === 'state' && answer.resolve(null));
  }

  /**
   * Send a request.
   *
   * @returns null where nobody answers: no kernel, or one without llmagic.
   * @throws With the kernel's message when it refuses, and when no answer came.
   */
  async ask(request: JSONObject): Promise<JSONObject | null> {
    const comm = this._connect();
    if (comm === null) {
      return null;
    }
    const id = `${++this._number}`;
    const answer = new PromiseDelegate<JSONObject | null>();
    this._waiting.set(id, { type: String(request.type), answer });
    comm.send({ ...request, id });
    const timer = window.setInterval(() => {
      // A kernel that runs a cell may answer after it.
      if (this._session.session?.kernel?.status === 'idle') {
        answer.reject(new Error('The kernel did not answer; try again.'));
      }
    }, LONGEST);
    const found = await answer.promise.finally(() => {
      window.clearInterval(timer);
      this._waiting.delete(id);
    });
    if (found?.type === 'error') {
      throw new Error(String(found.message));
    }
    return found;
  }

  /**
   * Send a request again and again, until no running cell keeps the kernel from answering.
   *
   * @param onLater - Called once when it has to wait for a cell.
   */
  async askUntilAnswered(request: JSONObject, onLater: () => void): Promise<JSONObject | null> {
    let answer = await this.ask(request);
    if (answer?.type === 'later') {
      onLater();
    }
    while (answer?.type === 'later') {
      await new Promise(resolve => window.setTimeout(resolve, AGAIN));
      answer = await this.ask(request);
    }
    return answer;
  }

  private _connect(): Kernel.IComm | null {
    const kernel = this._session.session?.kernel;
    if (!kernel || !kernel.handleComms || kernel.status === 'dead') {
      return null;
    }
    if (this._comm === null || this._comm.isDisposed) {
      const comm = kernel.createComm(TARGET);
      comm.onMsg = message => this._onMessage(message);
      // A kernel without llmagic closes it at once.
      comm.onClose = () => this._forget();
      comm.open({});
      this._comm = comm;
    }
    return this._comm;
  }

  private _onMessage(message: KernelMessage.ICommMsgMsg): void {
    const data = message.content.data as JSONObject;
    this._waiting.get(String(data.id))?.answer.resolve(data);
  }

  private _onStatus(_: unknown, status: Kernel.Status): void {
    if (status === 'restarting' || status === 'autorestarting' || status === 'dead') {
      this._lose();
    }
  }

  private _lose(): void {
    this._forget();
    this._onLost();
  }

  private _forget(): void {
    this._comm = null;
    this._waiting.forEach(({ answer }) => answer.resolve(null));
  }

  private _comm: Kernel.IComm | null = null;
  private _number = 0;
  private _waiting = new Map<string, IWaiting>();
}
