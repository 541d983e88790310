import { EditorState } from '@codemirror/state';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { imageInsertion } from '../src/inserting';
import { loaded } from '../src/transfers';

vi.mock('@codemirror/view', () => ({
  EditorView: { domEventHandlers: (handlers: object) => handlers },
  ViewPlugin: { define: (plugin: object) => plugin, fromClass: () => undefined }
}));
vi.mock('@jupyterlab/apputils', () => ({
  Notification: { error: (message: string) => told.push(message) }
}));

const told: string[] = [];

type Given = Parameters<typeof imageInsertion>;
type Handler = (event: object, view: object) => boolean;

/** A %%llm cell in its editor. */
function opened(readOnly = false) {
  const state = EditorState.create({
    doc: '%%llm\n',
    selection: { anchor: 6 },
    extensions: EditorState.readOnly.of(readOnly)
  });
  const view = {
    state,
    plugin: () => null,
    posAtCoords: () => 6,
    dispatch: (spec: object) => (view.state = view.state.update(spec).state),
    dom: new EventTarget()
  };
  const text = () => view.state.doc.toString();
  const model = { type: 'code', sharedModel: { getSource: text } };
  const conversation = {
    digests: { of: () => '0123456789' },
    image: () => undefined,
    attach: vi.fn()
  };
  const conversations = {
    holding: () => conversation,
    limits: { current: { imageSide: 2048, imageBytes: 2e6 } }
  };
  const contents = {
    get: async (path: string) => ({
      name: path.split('/').pop(),
      mimetype: 'image/png',
      content: btoa('image')
    })
  };
  const given = [model, conversations, contents] as unknown as Given;
  const [handlers, fromBrowser] = imageInsertion(...given) as unknown as [
    Record<'paste' | 'drop', Handler>,
    (view: object) => object
  ];
  fromBrowser(view);
  const event = (files: File[]) => {
    const transfer = { files, getData: () => '' };
    return {
      clipboardData: transfer,
      dataTransfer: transfer,
      preventDefault: vi.fn(),
      stopPropagation: vi.fn()
    };
  };
  return { view, text, handlers, event, conversation };
}

const file = (name: string, data = 'image') => new File([data], name, { type: 'image/png' });

beforeEach(() => {
  told.length = 0;
  vi.stubGlobal('createImageBitmap', async (blob: Blob) => {
    if ((await blob.text()) !== 'image') {
      throw new Error('no image');
    }
    return { width: 1, height: 1, close: () => undefined };
  });
  const page = { body: { textContent: '' }, images: [] };
  vi.stubGlobal(
    'DOMParser',
    class {
      parseFromString = () => page;
    }
  );
});

describe('images', () => {
  it('are pasted and dropped into cells, but not where these cannot be edited', async () => {
    for (const readOnly of [false, true]) {
      for (const way of ['paste', 'drop'] as const) {
        const { view, text, handlers, event, conversation } = opened(readOnly);
        const happens = event([file('x.png')]);
        expect(handlers[way](happens, view)).toBe(!readOnly);
        await vi.waitFor(() =>
          expect(text()).toBe(`%%llm\n${'![](attachment:x.png)'.repeat(+!readOnly)}`)
        );
        expect(happens.preventDefault).toHaveBeenCalledTimes(+!readOnly);
        expect(conversation.attach).toHaveBeenCalledTimes(+!readOnly);
      }
    }
  });

  it('are inserted without the one that cannot be read, of which is told', async () => {
    const { view, text, handlers, event, conversation } = opened();
    handlers.drop(event([file('1.png'), file('2.png', 'broken'), file('3.png')]), view);
    await vi.waitFor(() =>
      expect(text()).toBe('%%llm\n![](attachment:1.png)![](attachment:3.png)')
    );
    expect(conversation.attach).toHaveBeenCalledTimes(2);
    expect(told).toEqual([
      expect.stringMatching(/^2.png cannot be read as an image .* not inserted/)
    ]);
  });

  it('are all of those that are dragged from the file browser', async () => {
    const { view, text } = opened();
    const drag = (name: string, data: Record<string, unknown>) => {
      const mimeData = { hasData: (mime: string) => mime in data, getData: (m: string) => data[m] };
      const happens = Object.assign(new Event(name, { cancelable: true }), { mimeData });
      view.dom.dispatchEvent(happens);
      return happens.defaultPrevented;
    };
    const [one, all] = ['application/x-jupyter-icontentsrich', 'application/x-jupyter-icontents'];
    const model = { path: 'a/drawing', mimetype: 'image/png' };
    expect(drag('lm-dragover', { [all]: ['a/1.png'] })).toBe(false);
    expect(drag('lm-dragover', { [one]: { model: { path: 'a/b.txt' } } })).toBe(false);
    const files = { [one]: { model }, [all]: ['a/1.png', 'a/b.txt', 'a/drawing', 'a/2.jpg'] };
    expect(drag('lm-dragover', files)).toBe(true);
    expect(drag('lm-drop', files)).toBe(true);
    const names = ['1.png', 'drawing', '2.jpg'];
    await vi.waitFor(() =>
      expect(text()).toBe(`%%llm\n${names.map(n => `![](attachment:${n})`).join('')}`)
    );
  });

  it('from another page have the name that their address encodes', async () => {
    vi.stubGlobal('fetch', async () => new Response(file('x'), {}));
    expect(await loaded('https://x.org/a/gr%C3%B6%20%C3%9Fe.png?b=c.jpg')).toMatchObject({
      name: 'grö ße.png'
    });
    expect(await loaded('https://x.org/100%.png')).toMatchObject({ name: '100%.png' });
    expect(await loaded('https://x.org/')).toMatchObject({ name: 'image.png' });
    vi.unstubAllGlobals();
  });
});
