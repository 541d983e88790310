/** What the text of a cell says. */

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
  const found = [...options, ...[...source.matchAll(REFERENCE)].map(ofMarkdown)];
  return [...new Set(found.filter(name => name !== null))];
}

/** The text without its references to one attachment. */
export function withoutReference(source: string, name: string): string {
  return source
    .replace(MAGIC, line =>
      line.replace(OPTION, (...all) => (ofOption(all) === name ? '' : all[0]))
    )
    .replace(REFERENCE, (...all) => (ofMarkdown(all) === name ? '' : all[0]));
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

const MAGIC = /^[ \t]*%%?llm(?![\w-]).*$/gm;

/** An image option of it, and its value with the quotes of a shell. */
const OPTION = /\s(?:-a(?:\s+|=)?|--image(?:\s+|=))((?:"[^"]*"|'[^']*'|[^\s"'])+)/g;

const REFERENCE = /!\[[^\]]*\]\(\s*(?:<attachment:([^>\n]*)>|attachment:([^)\s]*))[^)\n]*\)/g;

function ofOption([, value]: readonly unknown[]): string | null {
  const target = String(value).replace(/["']/g, '');
  return target.startsWith('attachment:') ? decoded(target.slice('attachment:'.length)) : null;
}

function ofMarkdown([, inAngles, plain]: readonly unknown[]): string {
  return decoded(String(inAngles ?? plain ?? ''));
}

function percent(character: string): string {
  return '()'.includes(character)
    ? '%' + character.charCodeAt(0).toString(16)
    : encodeURIComponent(character);
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
