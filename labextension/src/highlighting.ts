import { ICellModel } from '@jupyterlab/cells';
import { CodeEditor } from '@jupyterlab/codeeditor';
import { IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import { Compartment, EditorState, Extension, Prec, Text } from '@codemirror/state';
import { EditorView, Decoration, ViewPlugin } from '@codemirror/view';
import { isLlmCell } from './source';

/** JupyterLab's Markdown with LaTeX. */
const MARKDOWN = 'text/x-ipythongfm';

/**
 * Highlights and wraps the text of a cell as Markdown for as long as its first line is `%%llm`.
 *
 * The cell's own language stays set; ours is put above it and taken away.
 */
export function markdownInCells(
  model: CodeEditor.IModel,
  languages: IEditorLanguageRegistry
): Extension {
  if ((model as Partial<ICellModel>).type !== 'code') {
    return [];
  }
  const slot = new Compartment();
  let loaded: Extension | null = null;
  const wanted = (text: Text) => (loaded !== null && asks(text) ? loaded : []);
  const flip = EditorState.transactionExtender.of(transaction => {
    if (!transaction.docChanged || loaded === null) {
      return null;
    }
    const [before, now] = [asks(transaction.startState.doc), asks(transaction.newDoc)];
    return before === now ? null : { effects: slot.reconfigure(now ? loaded : []) };
  });
  const start = ViewPlugin.define(view => {
    void languages.getLanguage(MARKDOWN).then(language => {
      if (language?.support !== undefined) {
        // Prose is wrapped, as in a Markdown cell.
        loaded = [Prec.highest(language.support), magicLine, EditorView.lineWrapping];
        if (view.dom.isConnected || asks(view.state.doc)) {
          view.dispatch({ effects: slot.reconfigure(wanted(view.state.doc)) });
        }
      }
    });
    return {};
  });
  return [slot.of([]), flip, start];
}

/** The line with the magic is no Markdown. */
const magicLine = EditorView.decorations.compute(['doc'], state =>
  Decoration.set(Decoration.line({ class: 'llm-Magic' }).range(state.doc.line(1).from))
);

function asks(text: Text): boolean {
  return isLlmCell(text.sliceString(0, 200));
}
