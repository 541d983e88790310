import { CompletionHandler, ICompletionContext, ICompletionProvider } from '@jupyterlab/completer';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { Contents } from '@jupyterlab/services';
import { PathExt } from '@jupyterlab/coreutils';
import { Conversations } from './conversations';
import { encodedName, isLlmCell } from './source';

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

const IMAGE = /\.(png|jpe?g|webp|gif|bmp|tiff?)$/i;

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
        ['name', /(?<!\{)\{([A-Za-z_]\w*)?$/]
      ] as const)
    : ([
        ['name', /\s(?:-[ao]|--(?:image|out|schema|tool))\s+([A-Za-z_]\w*)?$/],
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
    const found = target(request.text, request.offset);
    const start = found?.start ?? request.offset;
    const typed = request.text.slice(start, request.offset);
    const items = found === null ? [] : await this._items(found.kind, typed, context);
    return {
      start,
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
    const reply = await kernel.requestComplete({ code: typed, cursor_pos: typed.length });
    const matches = reply.content.status === 'ok' ? reply.content.matches : [];
    return matches.filter(label => /^\w+$/.test(label)).map(label => ({ label, type: 'instance' }));
  }

  private async _images(typed: string): Promise<CompletionHandler.ICompletionItem[]> {
    const panel = this._tracker.currentWidget;
    const conversation = this._conversations.of(panel);
    if (panel === null || conversation === undefined) {
      return [];
    }
    const names = new Set(conversation.cells().flatMap(cell => [...cell.attachments.keys()]));
    const folder = PathExt.dirname(typed);
    const base = PathExt.join(PathExt.dirname(panel.context.path), folder);
    const listed = await this._contents.get(base).catch(() => null);
    const files = ((listed?.content ?? []) as Contents.IModel[])
      .filter(file => file.type === 'directory' || IMAGE.test(file.name))
      .map(
        file =>
          (folder ? `${folder}/${file.name}` : file.name) + (file.type === 'directory' ? '/' : '')
      );
    return [
      ...[...names].map(name => ({
        label: `attachment:${encodedName(name)}`,
        type: 'image'
      })),
      ...files.map(path => ({ label: path.split('/').map(encodedName).join('/'), type: 'file' }))
    ];
  }
}
