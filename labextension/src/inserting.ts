import { Notification } from '@jupyterlab/apputils';
import { ICellModel } from '@jupyterlab/cells';
import { CodeEditor } from '@jupyterlab/codeeditor';
import { Contents } from '@jupyterlab/services';
import { Extension } from '@codemirror/state';
import { EditorView, ViewPlugin, ViewUpdate } from '@codemirror/view';
import { Drag } from '@lumino/dragdrop';
import { Conversation } from './conversation';
import { Conversations } from './conversations';
import { prepare, unusedName } from './images';
import { isLlmCell, reference } from './source';

const FROM_BROWSER = 'application/x-jupyter-icontentsrich';

interface IImageFile {
  name: string;
  blob: Blob;
}

/** Lets images be pasted and dropped into one cell, if it is a %%llm cell when that happens. */
export function imageInsertion(model: CodeEditor.IModel, conversations: Conversations): Extension {
  if ((model as Partial<ICellModel>).type !== 'code') {
    return [];
  }
  const place = (): Place | null => {
    const conversation = conversations.holding(model);
    return conversation && isLlmCell(model.sharedModel.getSource())
      ? { cell: model as ICellModel, conversation, conversations }
      : null;
  };
  const take = (event: Event, view: EditorView, files: Promise<IImageFile[]>, at: number) => {
    const found = place();
    if (found === null) {
      return false;
    }
    event.preventDefault();
    event.stopPropagation();
    void insert(found, view, files, at);
    return true;
  };
  const handlers = EditorView.domEventHandlers({
    paste: (event, view) => {
      const files = imageFiles(event.clipboardData);
      return (
        files.length > 0 &&
        take(event, view, Promise.resolve(files), view.state.selection.main.from)
      );
    },
    drop: (event, view) => {
      const files = imageFiles(event.dataTransfer);
      return files.length > 0 && take(event, view, Promise.resolve(files), position(view, event));
    }
  });
  const fromBrowser = ViewPlugin.define(view => {
    // Lumino's events of dragging are no events that CodeMirror knows.
    const over = (event: Event) => {
      if (dragged(event) !== null && place() !== null) {
        event.preventDefault();
        event.stopPropagation();
        (event as Drag.Event).dropAction = (event as Drag.Event).proposedAction;
      }
    };
    const drop = (event: Event) => {
      const file = dragged(event);
      if (file !== null) {
        take(event, view, file(), position(view, event as Drag.Event));
      }
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
  files: Promise<IImageFile[]>,
  at: number
): Promise<void> {
  const mark = { at };
  const waiting = view.plugin(pending);
  waiting?.positions.add(mark);
  try {
    for (const { name, blob } of await files) {
      const image = await prepare(blob, name, conversations.limits.current);
      const digest = conversation.digests.of(image.data) ?? '';
      const used = unusedName(name, image.data, digest, n => conversation.image(n)?.data);
      conversation.attach(cell, new Map([[used, image]]));
      const line = view.state.doc.lineAt(mark.at);
      // The first line is the magic's: text behind it would be read as options.
      const lead = line.number === 1 ? '\n' : '';
      const from = line.number === 1 ? line.to : mark.at;
      const text = `${lead}${reference(used)}`;
      view.dispatch({
        changes: { from, insert: text },
        selection: { anchor: from + text.length },
        userEvent: 'input.paste',
        scrollIntoView: true
      });
      mark.at = from + text.length;
    }
  } catch (error) {
    // Without `autoClose` a notification waits where nobody looks.
    Notification.error(error instanceof Error ? error.message : String(error), {
      autoClose: false
    });
  } finally {
    waiting?.positions.delete(mark);
  }
}

function imageFiles(transfer: DataTransfer | null): IImageFile[] {
  const files = Array.from(transfer?.files ?? []);
  return files
    .filter(file => file.type.startsWith('image/'))
    .map(file => ({ name: file.name, blob: file }));
}

/** The image that is dragged from JupyterLab's file browser, to be loaded. */
function dragged(event: Event): (() => Promise<IImageFile[]>) | null {
  const data = (event as Drag.Event).mimeData;
  if (!data?.hasData(FROM_BROWSER)) {
    return null;
  }
  const file = data.getData(FROM_BROWSER) as {
    model: Contents.IModel;
    withContent: () => Promise<Contents.IModel>;
  };
  if (!file.model.mimetype?.startsWith('image/')) {
    return null;
  }
  return async () => {
    const { name, mimetype, content } = await file.withContent();
    const answer = await fetch(`data:${mimetype};base64,${String(content).replace(/\s/g, '')}`);
    return [{ name, blob: await answer.blob() }];
  };
}

function position(view: EditorView, event: { clientX: number; clientY: number }): number {
  const at = view.posAtCoords({ x: event.clientX, y: event.clientY });
  return at ?? view.state.selection.main.from;
}
