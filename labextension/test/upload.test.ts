import { beforeEach, describe, expect, it, vi } from 'vitest';
import gallery from '../../llmagic/notebook/upload.js';
import { FakeElement, fakeDocument } from './dom';

/** The gallery of `llmagic.ImageUpload`, and what it sends to the kernel. */
function opened() {
  const traits: Record<string, unknown> = { items: [], message: '', largest: 1000 };
  const sent: { kind: string; upload: string; name: string }[] = [];
  const heard: Record<string, (content: object) => void> = {};
  const model = {
    get: (name: string) => traits[name],
    send: (message: (typeof sent)[number]) => sent.push(message),
    on: (name: string, listener: (content: object) => void) => (heard[name] = listener)
  };
  const el = new FakeElement('div');
  gallery.render({ model, el });
  const root = el.all('llmagic-upload')[0]!;
  const drop = (files: object[]) =>
    root.listeners.drop!({
      dataTransfer: { files },
      preventDefault: () => undefined,
      stopPropagation: () => undefined
    });
  const take = () =>
    sent
      .filter(({ kind }) => kind === 'part')
      .forEach(({ upload }) => heard['msg:custom']!({ kind: 'taken', upload }));
  const names = () => sent.filter(({ kind }) => kind === 'part').map(({ name }) => name);
  const says = () => root.all('llmagic-upload-message')[0]!.textContent;
  const problems = () => root.all('llmagic-upload-problem').map(each => each.textContent);
  return { drop, take, names, says, problems };
}

function file(name: string, size = 10, error = '') {
  const arrayBuffer = async () => {
    if (error) {
      throw new Error(error);
    }
    return new ArrayBuffer(size);
  };
  return { name, size, slice: () => ({ arrayBuffer }) };
}

beforeEach(() => {
  vi.stubGlobal('document', fakeDocument);
});

describe('the gallery', () => {
  it('sends the files around one that cannot be read, and tells of that', async () => {
    const { drop, take, names, says, problems } = opened();
    drop([file('1.png'), file('a folder', 10, 'not found'), file('2.png'), file('huge', 2000)]);
    expect(says()).toContain('adding 1.png, a folder, 2.png …');
    await vi.waitFor(() => expect(names()).toEqual(['1.png', '2.png']));
    expect(problems()).toEqual([
      expect.stringMatching(/^huge has .* instead. a folder was not sent: not found$/)
    ]);
    expect(says()).toBe(`${problems()[0]} adding 1.png, 2.png …`);
    take();
    expect(says()).toBe(problems()[0]);
  });

  it('tells that it adds files, which is no problem', async () => {
    const { drop, take, names, says, problems } = opened();
    drop([file('1.png')]);
    await vi.waitFor(() => expect(names()).toEqual(['1.png']));
    expect([says(), problems()]).toEqual(['adding 1.png …', []]);
    take();
    expect(says()).toBe('');
  });
});
