/** What the text of a cell says. */

/** Whether the whole cell is a question to the model. */
export function isLlmCell(source: string): boolean {
  return /^\s*%%llm(?![\w-])/.test(source);
}

/** Whether any line of a cell may ask: such cells may have turns. */
export function asks(source: string): boolean {
  return /^[ \t]*%%?llm(?![\w-])/m.test(source);
}

/** The names of the attachments that a text refers to, in order, each once. */
export function references(source: string): string[] {
  const names = new Set<string>();
  for (const [, inAngles, plain] of source.matchAll(REFERENCE)) {
    names.add(decoded(inAngles ?? plain ?? ''));
  }
  return [...names];
}

/** The text without its references to one attachment. */
export function withoutReference(source: string, name: string): string {
  return source.replace(REFERENCE, (all, inAngles?: string, plain?: string) =>
    decoded(inAngles ?? plain ?? '') === name ? '' : all
  );
}

/** Markdown that shows an attachment. */
export function reference(name: string): string {
  return `![](attachment:${encodeURIComponent(name).replace(
    /[()]/g,
    character => '%' + character.charCodeAt(0).toString(16)
  )})`;
}

const REFERENCE = /!\[[^\]]*\]\(\s*(?:<attachment:([^>\n]*)>|attachment:([^)\s]*))[^)\n]*\)/g;

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
