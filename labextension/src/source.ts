/** What the text of a cell says. */

import { IImageMark, imageMarks, plainTarget } from './markdown';

/** Whether the whole cell is a question to the model. */
export function isLlmCell(source: string): boolean {
  return /^\s*%%llm(?![\w-])/.test(source);
}

/** Whether any line of a cell may ask: such cells may have turns. */
export function asks(source: string): boolean {
  return /^[ \t]*%%?llm(?![\w-])/m.test(source);
}

/** The names of the attachments that a cell refers to, in order, each once: `-a` and Markdown. */
export function references(source: string): string[] {
  const lines = [...source.matchAll(MAGIC)].map(([line]) => line);
  const options = lines.flatMap(line => [...line.matchAll(OPTION)].map(ofOption));
  const found = [...options, ...imageMarks(source).map(ofMarkdown)];
  return [...new Set(found.filter(name => name !== null))];
}

/** The text without its references to one attachment. */
export function withoutReference(source: string, name: string): string {
  const text = source.replace(MAGIC, line =>
    line.replace(OPTION, (...all) => (ofOption(all) === name ? '' : all[0]))
  );
  return imageMarks(text)
    .filter(mark => ofMarkdown(mark) === name)
    .reduceRight((left, { start, stop }) => left.slice(0, start) + left.slice(stop), text);
}

/** Whether a name stands anywhere in the text, as it is or percent-encoded. */
export function mentions(source: string, name: string): boolean {
  return [source, source.replace(/(?:%[0-9a-f]{2})+/gi, decoded)].some(text => text.includes(name));
}

/** Markdown that shows an attachment. */
export function reference(name: string): string {
  return `![](attachment:${encodedName(name)})`;
}

/** A name as it is written into a target of Markdown, which a parenthesis would end. */
export function encodedName(name: string): string {
  return encodeURIComponent(name).replace(/[()]/g, percent);
}

/** Markdown that shows the image at an address: nothing of it ends the target, or is a {field}. */
export function imageAt(address: string): string {
  return `![](${address.replace(/[\s(){}<>\\]/g, percent)})`;
}

/** `%llm` has no options. Cells that were merged may have the line below others. */
const MAGIC = /^[ \t]*%%llm(?![\w-]).*$/gm;

/** An image option of it, and its value with the quotes of a shell. */
const OPTION = /\s(?:-a(?:\s+|=)?|--image(?:\s+|=))((?:"[^"]*"|'[^']*'|[^\s"'])+)/g;

function ofOption([, value]: readonly unknown[]): string | null {
  return nameIn(String(value).replace(/["']/g, ''));
}

function ofMarkdown({ target }: IImageMark): string | null {
  return nameIn(plainTarget(target));
}

/** The name of an attachment; null for any other target. */
function nameIn(target: string): string | null {
  const [scheme] = /^attachment:/i.exec(target) ?? [];
  return scheme === undefined ? null : decoded(target.slice(scheme.length));
}

function percent(character: string): string {
  return '()'.includes(character)
    ? '%' + character.charCodeAt(0).toString(16)
    : encodeURIComponent(character);
}

/** A text without its percent-encoding, or as it is where that is none. */
export function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
