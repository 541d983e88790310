import { CompletionHandler, ICompletionContext, ICompletionProvider } from '@jupyterlab/completer';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { Contents } from '@jupyterlab/services';
import { PathExt, Text } from '@jupyterlab/coreutils';
import { Conversations } from './conversations';
import { IMAGE_FILE } from './images';
import { decoded, encodedName, isLlmCell } from './source';

/** The options of %%llm; a test compares them with the kernel's. */
export const OPTIONS: Readonly<Record<string, string>> = {
  '--model': 'model from this cell on',
  '--system': 'system prompt from this cell on',
  '--image': 'image before the text: path, URL or variable',
  '--out': 'put the reply into a variable',
  '--temperature': '0 takes the most likely token always',
  '--top-p': 'draw from the most likely tokens that have this probability together',
  '--top-k': 'draw from the K most likely tokens',
  '--min-p': 'drop tokens less likely than this, relative to the most likely one',
  '--seed': 'of the draw',
  '--max-tokens': 'most tokens in the reply',
  '--stop': 'text that ends the reply',
  '--schema': 'JSON schema that the reply must follow',
  '--tool': 'function of the notebook that the model may call',
  '--no-tools': 'offer no tools from here on',
  '--think': 'let the model think first',
  '--no-think': 'no thinking',
  '--thread': 'another conversation',
  '--side': 'see the turns above, but do not join them',
  '--fresh': 'see no turn at all, and do not join them',
  '--as': 'name of this turn',
  '--resample': 'draw another reply',
  '--no-stream': 'show the reply when it is complete',
  '--no-interpolate': 'leave {braces} as they are',
  '--no-checkpoint': 'save no state of this cell'
};

/** What is completed at a place in a cell, and what is typed of it. */
export function target(
  source: string,
  offset: number
): { kind: 'option' | 'name' | 'image'; start: number } | null {
  const before = source.slice(0, offset);
  if (!isLlmCell(source)) {
    return null;
  }
  const patterns = before.trimStart().includes('\n')
    ? ([
        ['image', /!\[[^\]]*\]\(([^()\s]*)$/],
        ['name', /(?<!\{)\{([\p{XID_Start}_]\p{XID_Continue}*)?$/u]
      ] as const)
    : ([
        [
          'name',
          /\s(?:-[ao]|--(?:image|out|schema|tool))\s+([\p{XID_Start}_]\p{XID_Continue}*)?$/u
        ],
        ['option', /\s(-[-\w]*)$/]
      ] as const);
  for (const [kind, pattern] of patterns) {
    const found = pattern.exec(before);
    if (found !== null) {
      return { kind, start: offset - (found[1] ?? '').length };
    }
  }
  return null;
}

/** Completes options, {names} and names of images in %%llm cells. */
export class Completion implements ICompletionProvider {
  constructor(
    private _tracker: INotebookTracker,
    private _conversations: Conversations,
    private _contents: Contents.IManager
  ) {}

  readonly identifier = 'llmagic:completion';
  readonly rank = 1000;

  async isApplicable(context: ICompletionContext): Promise<boolean> {
    return (
      context.widget instanceof NotebookPanel &&
      isLlmCell(context.editor?.model.sharedModel.getSource() ?? '')
    );
  }

  async fetch(
    request: CompletionHandler.IRequest,
    context: ICompletionContext
  ): Promise<CompletionHandler.ICompletionItemsReply> {
    // A request and its reply count characters, a string UTF-16 units: an emoji has two.
    const { text } = request;
    const offset = Text.charIndexToJsIndex(request.offset, text);
    const found = target(text, offset);
    const start = found?.start ?? offset;
    const typed = text.slice(start, offset);
    const items = found === null ? [] : await this._items(found.kind, typed, context);
    return {
      start: Text.jsIndexToCharIndex(start, text),
      end: request.offset,
      items: items.filter(item => (item.insertText ?? item.label).startsWith(typed))
    };
  }

  private async _items(
    kind: 'option' | 'name' | 'image',
    typed: string,
    context: ICompletionContext
  ): Promise<CompletionHandler.ICompletionItem[]> {
    switch (kind) {
      case 'option':
        return Object.entries(OPTIONS).map(([label, documentation]) => ({
          label,
          type: 'option',
          documentation
        }));
      case 'name':
        return this._names(typed, context);
      case 'image':
        return this._images(typed);
    }
  }

  private async _names(
    typed: string,
    context: ICompletionContext
  ): Promise<CompletionHandler.ICompletionItem[]> {
    const kernel = context.session?.kernel;
    if (!kernel) {
      return [];
    }
    // A kernel that runs a cell answers too late: the completer waits for a second.
    const cursor = Text.jsIndexToCharIndex(typed.length, typed);
    const reply = await kernel.requestComplete({ code: typed, cursor_pos: cursor });
    const matches = reply.content.status === 'ok' ? reply.content.matches : [];
    return matches
      .filter(label => /^\p{XID_Continue}+$/u.test(label))
      .map(label => ({ label, type: 'instance' }));
  }

  private async _images(typed: string): Promise<CompletionHandler.ICompletionItem[]> {
    const panel = this._tracker.currentWidget;
    const conversation = this._conversations.of(panel);
    if (panel === null || conversation === undefined) {
      return [];
    }
    const names = new Set(conversation.cells().flatMap(cell => [...cell.attachments.keys()]));
    // What is typed of the path stays as it is, encoded or not.
    const folder = typed.slice(0, typed.lastIndexOf('/') + 1);
    const below = decoded(folder).replace(/\/$/, '');
    const base = PathExt.join(PathExt.dirname(panel.context.path), below);
    // The server knows no absolute path.
    const listed = folder.startsWith('/') ? null : await this._contents.get(base).catch(() => null);
    const files = ((listed?.content ?? []) as Contents.IModel[]).filter(
      file => file.type === 'directory' || IMAGE_FILE.test(file.name)
    );
    return [
      ...[...names].map(name => ({
        label: `attachment:${encodedName(name)}`,
        type: 'image'
      })),
      ...files.map(({ name, type }) => ({
        label: folder + encodedName(name) + (type === 'directory' ? '/' : ''),
        type: 'file'
      }))
    ];
  }
}
