import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IEditorExtensionRegistry, IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import { ICompletionProviderManager } from '@jupyterlab/completer';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { Token } from '@lumino/coreutils';
import { MessageLoop } from '@lumino/messaging';
import { addCommands } from './commands';
import { Completion } from './completion';
import { Conversations } from './conversations';
import { markdownInCells } from './highlighting';
import { imageInsertion } from './inserting';
import { Limits } from './limits';
import { TurnsPanel } from './panel';
import { PanelModel } from './panelmodel';

const IConversations = new Token<Conversations>('llmagic:IConversations', 'The open notebooks.');

const conversations: JupyterFrontEndPlugin<Conversations> = {
  id: 'llmagic:plugin',
  description: 'Document order with every run, and the line under each cell.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ISettingRegistry],
  provides: IConversations,
  activate: (_: JupyterFrontEnd, tracker: INotebookTracker, settings: ISettingRegistry | null) => {
    const limits = new Limits();
    settings?.load('llmagic:plugin').then(
      found => limits.follow(found),
      reason => console.error('llmagic: the settings cannot be read, defaults are used', reason)
    );
    return new Conversations(tracker, limits);
  }
};

const editing: JupyterFrontEndPlugin<void> = {
  id: 'llmagic:editing',
  description: 'Images into %%llm cells, and Markdown in them.',
  autoStart: true,
  requires: [IConversations, IEditorExtensionRegistry, IEditorLanguageRegistry],
  activate: (
    app: JupyterFrontEnd,
    open: Conversations,
    extensions: IEditorExtensionRegistry,
    languages: IEditorLanguageRegistry
  ) => {
    const { contents } = app.serviceManager;
    extensions.addExtension({
      name: 'llmagic:images',
      factory: ({ model }) => ({
        instance: () => imageInsertion(model, open, contents),
        reconfigure: () => null
      })
    });
    extensions.addExtension({
      name: 'llmagic:highlighting',
      factory: ({ model }) => ({
        instance: () => (open.limits.current.highlight ? markdownInCells(model, languages) : []),
        reconfigure: () => null
      })
    });
  }
};

const completion: JupyterFrontEndPlugin<void> = {
  id: 'llmagic:completion',
  description: 'Completion of options, names and images in %%llm cells.',
  autoStart: true,
  requires: [IConversations, ICompletionProviderManager],
  activate: (app: JupyterFrontEnd, open: Conversations, manager: ICompletionProviderManager) => {
    const { contents } = app.serviceManager;
    manager.registerProvider(new Completion(open.tracker, open, contents));
  }
};

const commands: JupyterFrontEndPlugin<void> = {
  id: 'llmagic:commands',
  description: 'Commands for %%llm cells.',
  autoStart: true,
  requires: [IConversations],
  optional: [ICommandPalette],
  activate: (app: JupyterFrontEnd, open: Conversations, palette: ICommandPalette | null) =>
    addCommands(app, open, palette)
};

const panel: JupyterFrontEndPlugin<void> = {
  id: 'llmagic:panel',
  description: 'The tree of turns in the side bar.',
  autoStart: true,
  requires: [IConversations],
  optional: [ICommandPalette, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd,
    open: Conversations,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null
  ) => {
    const turns = new TurnsPanel(new PanelModel(open));
    const command = 'llmagic:show-panel';
    app.commands.addCommand(command, {
      label: 'Show Turns of the Conversation',
      execute: () => {
        if (!turns.isAttached) {
          app.shell.add(turns, 'right', { rank: 900 });
        }
        // The palette activates the notebook when it loses the focus, and that its cells: both
        // are to happen before.
        (document.activeElement as HTMLElement | null)?.blur();
        MessageLoop.flush();
        MessageLoop.flush();
        app.shell.activateById(turns.id);
      }
    });
    palette?.addItem({ command, category: 'llmagic' });
    const follow = () => {
      if (open.limits.current.panel && !turns.isAttached) {
        app.shell.add(turns, 'right', { rank: 900 });
      } else if (!open.limits.current.panel && turns.isAttached) {
        turns.parent = null;
      }
    };
    open.limits.changed.connect(follow);
    restorer?.add(turns, turns.id);
    void app.started.then(follow);
  }
};

export default [conversations, editing, completion, commands, panel];
