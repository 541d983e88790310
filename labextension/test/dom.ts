/** As much of an element as is used of it. */
export class FakeElement {
  constructor(readonly tag: string) {}

  readonly attributes: Record<string, string> = {};
  readonly dataset: Record<string, string> = {};
  readonly listeners: Record<string, (event: object) => void> = {};
  children: (FakeElement | string)[] = [];
  className = '';
  disabled = false;
  hidden = false;
  id = '';
  title = '';
  value = '';

  get textContent(): string {
    return this.children.map(each => (typeof each === 'string' ? each : each.textContent)).join('');
  }

  set textContent(text: string) {
    this.children = [text];
  }

  append(...children: (FakeElement | string)[]): void {
    this.children.push(...children);
  }

  replaceChildren(...children: (FakeElement | string)[]): void {
    this.children = children;
  }

  contains(): boolean {
    return false;
  }

  getRootNode(): object {
    return {};
  }

  setAttribute(name: string, value: string): void {
    this.attributes[name] = value;
  }

  addEventListener(name: string, listener: (event: object) => void): void {
    this.listeners[name] = listener;
  }

  /** All below it that have a class. */
  all(name: string): FakeElement[] {
    const below = this.children.filter(each => typeof each !== 'string');
    return below.flatMap(each => [
      ...(each.className.split(' ').includes(name) ? [each] : []),
      ...each.all(name)
    ]);
  }
}

/** A document that makes them. */
export const fakeDocument = { createElement: (tag: string) => new FakeElement(tag) };
