import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import { LabIcon } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import * as React from 'react';
import { count, size } from './describe';
import { IKernelState, IShare, ITurn, IVersion } from './kernelstate';
import { PanelModel } from './panelmodel';
import { rows } from './rows';

export const icon = new LabIcon({
  name: 'llmagic:turns',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16">' +
    '<g class="jp-icon3" fill="none" stroke="#616161" stroke-width="1.5">' +
    '<circle cx="4" cy="3.5" r="2"/><circle cx="4" cy="12.5" r="2"/>' +
    '<circle cx="12" cy="8" r="2"/><path d="M4 5.500v5M4 8h6"/></g></svg>'
});

/** The tree of turns in the side bar. */
export class TurnsPanel extends ReactWidget {
  constructor(private _model: PanelModel) {
    super();
    this.id = 'llmagic-turns';
    this.title.icon = icon;
    this.title.caption = 'Turns of this conversation (llmagic)';
    this.addClass('llm-Panel');
    this.node.tabIndex = -1;
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'Turns of this conversation');
  }

  protected override render(): React.JSX.Element {
    return (
      <UseSignal signal={this._model.stateChanged}>
        {() => <Content model={this._model} onDrawn={drawn => this._enter(drawn)} />}
      </UseSignal>
    );
  }

  protected override onActivateRequest(message: Message): void {
    super.onActivateRequest(message);
    this.node.focus();
    // What is drawn may be from before the panel was hidden.
    this._isEntering = true;
    this._before = this._model.state;
    void this._model.refresh();
  }

  // What is visible is attached and detached without being shown or hidden.
  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._model.isActive = this.isVisible;
  }

  protected override onAfterDetach(message: Message): void {
    super.onAfterDetach(message);
    this._model.isActive = false;
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._model.isActive = true;
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this._model.isActive = false;
  }

  /** Move the focus on to the turn of the active cell, or the last one, once an answer is drawn. */
  private _enter(drawn: IKernelState | null): void {
    // Who went elsewhere meanwhile is not called back.
    this._isEntering &&= document.activeElement === this.node;
    if (!this._isEntering || drawn === this._before) {
      return;
    }
    const turns = [...this.node.querySelectorAll<HTMLElement>('.llm-Turn[data-current=true]')];
    const { activeCell } = this._model;
    const turn = turns.find(({ dataset }) => dataset.cell === activeCell) ?? turns.at(-1);
    turn?.querySelector<HTMLElement>('.llm-Turn-go')?.focus();
    this._isEntering = turn === undefined;
  }

  private _isEntering = false;
  private _before: IKernelState | null = null;
}

function Content(props: {
  model: PanelModel;
  onDrawn: (state: IKernelState | null) => void;
}): React.JSX.Element {
  const { model, onDrawn } = props;
  const { state } = model;
  React.useEffect(() => onDrawn(state));
  if (state === null) {
    return (
      <p className="llm-Panel-empty">
        {(model.conversation?.states.size ?? 0) > 0
          ? 'The kernel has no turns yet: run the cell with %load_ext llmagic, then a %%llm cell.'
          : 'The notebook in front has no %%llm cell.'}
      </p>
    );
  }
  return (
    <>
      <Header state={state} doing={model.doing} />
      {state.turns.length > 0 ? (
        <Tree model={model} turns={state.turns} />
      ) : (
        <p className="llm-Panel-empty">No turn yet.</p>
      )}
    </>
  );
}

function Header(props: { state: IKernelState; doing: string }): React.JSX.Element {
  const { state, doing } = props;
  return (
    <header className="llm-Panel-header">
      <div className="llm-Panel-model">{state.model ?? 'no model is loaded'}</div>
      <div className="llm-Share">
        <span>Kernel</span>
        <span className="llm-Panel-doing">{doing}</span>
      </div>
      <Share name="Context" share={state.context} unit={amount => amount.toLocaleString('en')} />
      <Share name="Memory" share={state.memory} unit={size} />
      <Share name="Disk" share={state.disk} unit={size} />
    </header>
  );
}

function Share(props: {
  name: string;
  share: IShare | null;
  unit: (amount: number) => string;
}): React.JSX.Element | null {
  const { name, share, unit } = props;
  if (share === null) {
    return null;
  }
  const limit = share.budget ?? share.limit ?? null;
  const text = `${unit(share.used)}${limit === null ? '' : ` of ${unit(limit)}`}`;
  return (
    <div className="llm-Share">
      <span>{name}</span>
      <meter min={0} max={limit ?? 1} value={limit === null ? 0 : share.used} aria-label={name}>
        {text}
      </meter>
      <span>{text}</span>
    </div>
  );
}

function Tree({ model, turns }: { model: PanelModel; turns: ITurn[] }): React.JSX.Element {
  const staleFrom = model.staleFrom();
  return (
    <ul className="llm-Turns" aria-label="Turns">
      {rows(turns).map(({ turn, depth }) => (
        <Row
          key={`${turn.turn} ${turn.cell}`}
          model={model}
          turn={turn}
          depth={depth}
          stale={(turn.current && staleFrom.get(turn.cell ?? '')) || 0}
        />
      ))}
    </ul>
  );
}

function Row(props: {
  model: PanelModel;
  turn: ITurn;
  depth: number;
  /** How many cells are stale from its own on. */
  stale: number;
}): React.JSX.Element {
  const { model, turn, depth, stale } = props;
  const places = turn.tiers.length > 0 ? turn.tiers.join(', ') : 'nowhere';
  const bytes = Math.max(turn.bytes.memory, turn.bytes.disk);
  const name = turn.number === null ? `the turn “${turn.question}”` : `turn ${turn.number}`;
  const isHere = turn.cell !== null && model.conversation?.cell(turn.cell) !== undefined;
  const versions = turn.current && model.versions?.cell === turn.cell ? model.versions : null;
  return (
    <li
      className="llm-Turn"
      data-cell={turn.cell}
      data-current={turn.current}
      data-stale={turn.stale}
      style={{ marginLeft: `${Math.min(depth, 8) * 12}px` }}
    >
      <button
        type="button"
        className="llm-Turn-go"
        aria-current={turn.current}
        aria-disabled={!isHere}
        title={isHere ? 'Go to the cell' : 'Its cell is not in the notebook'}
        onClick={() => model.goTo(turn)}
      >
        <span className="llm-Turn-question">
          {turn.number !== null && <b>{turn.number} </b>}
          {turn.question.trim() || count(turn.images, 'image')}
        </span>
        <span className="llm-Turn-reply">{turn.reply}</span>
        <span className="llm-Turn-figures">
          {[
            count(turn.tokens, 'token'),
            turn.images > 0 ? count(turn.images, 'image') : '',
            bytes > 0 ? size(bytes) : '',
            places,
            turn.stale === 'edited' ? 'edited' : turn.stale === 'above' ? 'outdated' : '',
            turn.pinned ? 'pinned' : ''
          ]
            .filter(Boolean)
            .join(' · ')}
        </span>
      </button>
      <div className="llm-Turn-buttons">
        {stale > 0 && (
          <button
            type="button"
            title={`From ${name} down, in order`}
            onClick={event => {
              keepFocus(event.currentTarget);
              void model.runFrom(turn);
            }}
          >
            Run {count(stale, 'stale cell')}
          </button>
        )}
        <button
          type="button"
          aria-label={`Pin ${name}`}
          title="Keep its state in memory, whatever the budget"
          aria-pressed={turn.pinned}
          onClick={() => void model.pin(turn)}
        >
          Pin
        </button>
        <button
          type="button"
          aria-label={`Forget ${name}`}
          title="Drop its reply and its state for good"
          onClick={event => {
            keepFocus(event.currentTarget);
            void model.forget(turn, name);
          }}
        >
          Forget
        </button>
        {turn.cell !== null && turn.current && (
          <button
            type="button"
            aria-label={`Versions of ${name}`}
            title="What this cell was before, to go back to"
            aria-expanded={versions !== null}
            onClick={() => void model.showVersions(turn)}
          >
            Versions
          </button>
        )}
      </div>
      {versions !== null && <Versions model={model} turn={turn} list={versions.list} />}
    </li>
  );
}

function Versions(props: { model: PanelModel; turn: ITurn; list: IVersion[] }): React.JSX.Element {
  const { model, turn, list } = props;
  return (
    <ol className="llm-Versions" aria-label="Versions of this cell">
      {list.map(version => (
        <li key={version.turn}>
          <button
            type="button"
            disabled={version.turn === turn.turn}
            title={version.source}
            onClick={event => {
              keepFocus(event.currentTarget);
              void model.restore(turn.cell!, version);
            }}
          >
            {version.source.replace(/^\s*%%llm[^\n]*\n/, '').slice(0, 80) || version.source}
            <span className="llm-Turn-reply">{replyOf(version)}</span>
          </button>
        </li>
      ))}
    </ol>
  );
}

/** A button that goes, or whose row may, would take the focus out of the panel with it. */
function keepFocus(button: HTMLElement): void {
  button.closest<HTMLElement>('.llm-Panel')?.focus();
}

/** How a version's reply begins: the same question may have got several. */
function replyOf({ output }: IVersion): string {
  const data = output.data as Partial<Record<string, unknown>> | undefined;
  return String(data?.['text/plain'] ?? '').slice(0, 80);
}
