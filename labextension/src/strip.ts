import { Cell } from '@jupyterlab/cells';
import { UUID } from '@lumino/coreutils';
import { Widget } from '@lumino/widgets';
import { beginStep } from './attachments';
import { Conversation } from './conversation';
import { describe } from './describe';
import { withoutReference } from './source';
import { IAttachment, ICellFacts, ICellState, Kind } from './tokens';

/**
 * States of a run that is not over. Only its end is spoken: typing changes the state of many cells.
 * A quick run has no such state in any frame, but another reply.
 */
const PASSING: ReadonlySet<Kind | undefined> = new Set(['waiting', 'running'] as const);

/**
 * The line under the editor of a cell that asks: how it stands, and its images.
 *
 * Its first row always has the same height, so nothing below moves while a reply streams.
 */
export class Strip extends Widget {
  constructor(
    private _conversation: Conversation,
    readonly cell: Cell
  ) {
    super();
    this.addClass('llm-Strip');
    this._badge = element('button', 'llm-Badge', this.node);
    this._badge.type = 'button';
    this._badge.setAttribute('aria-expanded', 'false');
    this._word = element('span', 'llm-Badge-word', this._badge);
    this._figures = element('span', 'llm-Badge-figures', this._badge);
    this._details = element('p', 'llm-Details', this.node);
    // Not the cell's: a notebook may be open twice.
    this._details.id = `llm-details-${UUID.uuid4()}`;
    this._details.hidden = true;
    this._badge.setAttribute('aria-controls', this._details.id);
    this._images = element('ul', 'llm-Images', this.node);
    this._images.setAttribute('aria-label', 'Images of this cell');
    this._spoken = element('span', 'llm-Spoken', this.node);
    this._spoken.setAttribute('role', 'status');
    this._badge.addEventListener('click', () => this._toggle());
    // A click must not send the notebook into command mode, nor a key reach its shortcuts.
    this.node.dataset.lmSuppressShortcuts = 'true';
  }

  /** Draw the cell as it is now. */
  refresh(showBadge: boolean): void {
    const state = this._conversation.states.get(this.cell.model.id);
    this._badge.hidden = !showBadge || state === undefined;
    this._details.hidden = this._badge.hidden || !this._isOpen;
    if (state !== undefined && showBadge) {
      this._drawBadge(state);
    }
    this._drawImages();
  }

  private _drawBadge(state: ICellState): void {
    if (state === this._drawnState) {
      return;
    }
    const { word, figures, sentences } = describe(state);
    this.node.dataset.llmagic = state.kind;
    this._word.textContent = word;
    this._figures.textContent = figures;
    this._badge.title = sentences;
    this._badge.setAttribute('aria-label', `${word}. ${sentences || figures}`);
    this._details.textContent = sentences;
    const before = this._drawnState;
    this._drawnState = state;
    if (before?.kind !== state.kind || before.usage !== state.usage) {
      const another = before !== undefined && before.usage !== state.usage;
      const ended = !PASSING.has(state.kind) && (PASSING.has(before?.kind) || another);
      this._spoken.textContent = ended ? `Cell ${word}.` : '';
    }
  }

  private _toggle(): void {
    this._isOpen = !this._isOpen;
    this._details.hidden = !this._isOpen;
    this._badge.setAttribute('aria-expanded', String(this._isOpen));
  }

  private _drawImages(): void {
    const facts = this._conversation.facts(this.cell.model);
    const { readOnly } = this.cell;
    if (facts === this._facts && readOnly === this._isReadOnly) {
      return;
    }
    this._facts = facts;
    const { attachments } = facts;
    const images = facts.images.flatMap(name => {
      const image = attachments.get(name);
      return image === undefined ? [] : [{ name, image }];
    });
    // The addresses of the drawn images are not compared: they hold all bytes of the files.
    const same =
      readOnly === this._isReadOnly &&
      images.length === this._drawn.length &&
      images.every(({ name, image }, index) => {
        const drawn = this._drawn[index]!;
        return drawn.name === name && drawn.image.data === image.data;
      });
    if (!same) {
      this._drawn = images;
      this._isReadOnly = readOnly;
      this._images.replaceChildren(
        ...images.map(({ name, image }) => this._thumbnail(name, image))
      );
    }
    this._images.hidden = images.length === 0;
  }

  private _thumbnail(name: string, { mime, data }: IAttachment): HTMLElement {
    const item = document.createElement('li');
    const image = element('img', 'llm-Image', item);
    image.alt = name;
    image.title = name;
    image.decoding = 'async';
    image.src = `data:${mime};base64,${data}`;
    if (this._isReadOnly) {
      return item;
    }
    const remove = element('button', 'llm-Remove', item);
    remove.type = 'button';
    remove.textContent = '×';
    remove.title = `Remove ${name}`;
    remove.setAttribute('aria-label', `Remove image ${name}`);
    remove.addEventListener('click', () => this._remove(name));
    return item;
  }

  /** Undo brings the reference back, and with it the image. */
  private _remove(name: string): void {
    const model = this.cell.model.sharedModel;
    beginStep(this.cell.model);
    model.setSource(withoutReference(model.getSource(), name));
    this.cell.editor?.focus();
  }

  private _badge: HTMLButtonElement;
  private _word: HTMLElement;
  private _figures: HTMLElement;
  private _details: HTMLElement;
  private _images: HTMLElement;
  private _spoken: HTMLElement;
  private _facts: ICellFacts | undefined;
  private _drawn: { name: string; image: IAttachment }[] = [];
  private _isReadOnly = false;
  private _isOpen = false;
  private _drawnState: ICellState | undefined;
}

function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  name: string,
  parent: HTMLElement
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  node.className = name;
  parent.append(node);
  return node;
}
