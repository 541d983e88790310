import { Notification } from '@jupyterlab/apputils';
import { ICellModel } from '@jupyterlab/cells';
import { CodeEditor } from '@jupyterlab/codeeditor';
import { Contents } from '@jupyterlab/services';
import { Extension } from '@codemirror/state';
import { EditorView, ViewPlugin, ViewUpdate } from '@codemirror/view';
import { Drag } from '@lumino/dragdrop';
import { beginStep } from './attachments';
import { Conversation } from './conversation';
import { Conversations } from './conversations';
import { prepare, unusedName } from './images';
import { imageAt, isLlmCell, reference } from './source';
import {
  dragged,
  IImageAddress,
  imageAddress,
  IImageFile,
  imageFiles,
  isText,
  loaded
} from './transfers';

/** Loads one image. */
type Load = () => Promise<IImageFile | IImageAddress>;

/** Lets images be pasted and dropped into one cell, if it is a %%llm cell when that happens. */
export function imageInsertion(
  model: CodeEditor.IModel,
  conversations: Conversations,
  contents: Contents.IManager
): Extension {
  if ((model as Partial<ICellModel>).type !== 'code') {
    return [];
  }
  const place = (view: EditorView): Place | null => {
    const conversation = conversations.holding(model);
    return conversation && !view.state.readOnly && isLlmCell(model.sharedModel.getSource())
      ? { cell: model as ICellModel, conversation, conversations }
      : null;
  };
  const take = (event: Event, view: EditorView, images: readonly Load[], at: number) => {
    const found = images.length > 0 ? place(view) : null;
    if (found === null) {
      return false;
    }
    event.preventDefault();
    event.stopPropagation();
    void insert(found, view, images, at);
    return true;
  };
  const handlers = EditorView.domEventHandlers({
    paste: (event, view) => {
      const files = isText(event.clipboardData) ? [] : imageFiles(event.clipboardData);
      return take(event, view, files.map(loader), view.state.selection.main.from);
    },
    drop: (event, view) => {
      const files = imageFiles(event.dataTransfer);
      const address = files.length > 0 ? null : imageAddress(event.dataTransfer);
      const images = address === null ? files.map(loader) : [() => loaded(address)];
      return take(event, view, images, position(view, event));
    }
  });
  const fromBrowser = ViewPlugin.define(view => {
    // Lumino's events of dragging are no events that CodeMirror knows.
    const over = (event: Event) => {
      if (dragged(event, contents).length > 0 && place(view) !== null) {
        event.preventDefault();
        event.stopPropagation();
        (event as Drag.Event).dropAction = (event as Drag.Event).proposedAction;
      }
    };
    const drop = (event: Event) => {
      take(event, view, dragged(event, contents), position(view, event as Drag.Event));
    };
    const names = ['lm-dragenter', 'lm-dragover'];
    names.forEach(name => view.dom.addEventListener(name, over));
    view.dom.addEventListener('lm-drop', drop);
    return {
      destroy() {
        names.forEach(name => view.dom.removeEventListener(name, over));
        view.dom.removeEventListener('lm-drop', drop);
      }
    };
  });
  return [handlers, fromBrowser, pending];
}

interface Place {
  cell: ICellModel;
  conversation: Conversation;
  conversations: Conversations;
}

/** Positions that wait for an image, moved along with what is typed meanwhile. */
const pending = ViewPlugin.fromClass(
  class {
    readonly positions = new Set<{ at: number }>();

    update(update: ViewUpdate): void {
      this.positions.forEach(each => (each.at = update.changes.mapPos(each.at, 1)));
    }
  }
);

async function insert(
  { cell, conversation, conversations }: Place,
  view: EditorView,
  images: readonly Load[],
  at: number
): Promise<void> {
  const mark = { at };
  const waiting = view.plugin(pending);
  waiting?.positions.add(mark);
  for (const load of images) {
    try {
      const found = await load();
      const written =
        'address' in found
          ? imageAt(found.address)
          : await attached(found, cell, conversation, conversations);
      const line = view.state.doc.lineAt(mark.at);
      // The first line is the magic's: text behind it would be read as options.
      const lead = line.number === 1 ? '\n' : '';
      const from = line.number === 1 ? line.to : mark.at;
      const text = `${lead}${written}`;
      beginStep(cell);
      view.dispatch({
        changes: { from, insert: text },
        selection: { anchor: from + text.length },
        userEvent: 'input.paste',
        scrollIntoView: true
      });
      mark.at = from + text.length;
    } catch (error) {
      // The others are inserted. Without `autoClose` a notification waits where nobody looks.
      Notification.error(error instanceof Error ? error.message : String(error), {
        autoClose: false
      });
    }
  }
  waiting?.positions.delete(mark);
}

function loader(file: IImageFile): Load {
  return async () => file;
}

/** Put an image into the cell; gives the text that refers to it. */
async function attached(
  { name, blob }: IImageFile,
  cell: ICellModel,
  conversation: Conversation,
  { limits }: Conversations
): Promise<string> {
  const image = await prepare(blob, name, limits.current);
  const digest = conversation.digests.of(image.data) ?? '';
  const used = unusedName(name, image.data, digest, n => conversation.image(n)?.data);
  conversation.attach(cell, new Map([[used, image]]));
  return reference(used);
}

function position(view: EditorView, event: { clientX: number; clientY: number }): number {
  const at = view.posAtCoords({ x: event.clientX, y: event.clientY });
  return at ?? view.state.selection.main.from;
}
