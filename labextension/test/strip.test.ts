import { beforeEach, describe, expect, it, vi } from 'vitest';
import { Strip } from '../src/strip';
import { FakeElement, fakeDocument } from './dom';
import { cell } from './facts';

vi.mock('@lumino/widgets', () => ({
  Widget: class {
    node = new FakeElement('div');
    addClass = () => undefined;
  }
}));

/** The strip of a cell with an image, and its node. */
function opened(readOnly = false) {
  const widget = { model: { id: 'a' }, readOnly };
  const image = { mime: 'image/png', data: 'AAAA' };
  const conversation = {
    states: new Map(),
    facts: () =>
      cell('a', '%%llm\n![](attachment:x.png)', { attachments: new Map([['x.png', image]]) })
  };
  type Given = ConstructorParameters<typeof Strip>;
  const strip = new Strip(...([conversation, widget] as unknown as Given));
  strip.refresh(true);
  return { strip, widget, node: strip.node as unknown as FakeElement };
}

beforeEach(() => {
  vi.stubGlobal('document', fakeDocument);
});

describe('the line under a cell', () => {
  it('has details of its own in each view of a notebook', () => {
    const [one, two] = [opened(), opened()].map(({ node }) => ({
      details: node.all('llm-Details')[0]!.id,
      controls: node.all('llm-Badge')[0]!.attributes['aria-controls']
    }));
    expect(one!.details).toBe(one!.controls);
    expect(two!.details).toBe(two!.controls);
    expect(one!.details).not.toBe(two!.details);
  });

  it('removes no image of a cell that cannot be edited', () => {
    const { strip, widget, node } = opened(true);
    const buttons = () => node.all('llm-Remove').length;
    expect(node.all('llm-Image')).toHaveLength(1);
    expect(buttons()).toBe(0);
    widget.readOnly = false;
    strip.refresh(true);
    expect(buttons()).toBe(1);
    widget.readOnly = true;
    strip.refresh(true);
    expect(buttons()).toBe(0);
  });
});
