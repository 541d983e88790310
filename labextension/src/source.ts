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
  const options = [...source.matchAll(MAGIC)].flatMap(([line]) => [...line.matchAll(OPTION)]);
  return [...new Set([...options, ...source.matchAll(REFERENCE)].map(named))];
}

/** The text without its references to one attachment. */
export function withoutReference(source: string, name: string): string {
  const without = (all: string, ...more: unknown[]) => (named([all, ...more]) === name ? '' : all);
  return source.replace(MAGIC, line => line.replace(OPTION, without)).replace(REFERENCE, without);
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

/** In it, as in `REFERENCE`, one of the groups is the name. */
const OPTION =
  /\s(?:-a\s*|--image(?:\s+|=))(?:"attachment:([^"]*)"|'attachment:([^']*)'|attachment:([^\s"']*))/g;

const REFERENCE = /!\[[^\]]*\]\(\s*(?:<attachment:([^>\n]*)>|attachment:([^)\s]*))[^)\n]*\)/g;

function named([, ...groups]: readonly unknown[]): string {
  return decoded(groups.find(group => typeof group === 'string') as string);
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
