import { JupyterFrontEnd } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import { Conversations } from './conversations';
import { isStale } from './freshness';

export const INSERT = 'llmagic:insert-cell';
export const RUN_STALE = 'llmagic:run-stale-cells';

/** Add the commands that need nothing but a notebook. */
export function addCommands(
  app: JupyterFrontEnd,
  conversations: Conversations,
  palette: ICommandPalette | null
): void {
  const { tracker } = conversations;
  const isEnabled = () => tracker.currentWidget !== null;
  app.commands.addCommand(INSERT, {
    label: 'Insert %%llm Cell Below',
    isEnabled,
    execute: async () => {
      const panel = tracker.currentWidget;
      if (panel === null) {
        return;
      }
      NotebookActions.insertBelow(panel.content);
      const cell = panel.content.activeCell!;
      cell.model.sharedModel.setSource('%%llm\n');
      await cell.ready;
      panel.content.mode = 'edit';
      cell.editor?.setCursorPosition({ line: 1, column: 0 });
    }
  });
  app.commands.addCommand(RUN_STALE, {
    label: 'Run All Stale %%llm Cells',
    caption: 'Run the cells that were edited or stand on a change, in order',
    isEnabled,
    execute: async () => {
      if (tracker.currentWidget !== null) {
        await runStale(tracker.currentWidget, conversations, 0);
      }
    }
  });
  for (const command of [INSERT, RUN_STALE]) {
    palette?.addItem({ command, category: 'llmagic' });
  }
}

/**
 * Run the stale cells from one on, in document order, until one fails.
 *
 * A cell may become stale by the run of one above it: what is next is asked after every run.
 */
export async function runStale(
  panel: NotebookPanel,
  conversations: Conversations,
  from: number
): Promise<void> {
  const conversation = conversations.of(panel);
  if (conversation === undefined) {
    return;
  }
  const { content, sessionContext } = panel;
  for (let index = from; index < content.widgets.length; index++) {
    conversation.update();
    const cell = content.widgets[index]!;
    const state = conversation.states.get(cell.model.id);
    if (state === undefined || !isStale(state.kind)) {
      continue;
    }
    if (!(await NotebookActions.runCells(content, [cell], sessionContext))) {
      return;
    }
  }
}
