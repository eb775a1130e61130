/** Changes to the text of a JSON object that leave the rest as it is: Python tells 1.0 from 1, JSON.parse does not. */

interface Member {
  key: string;
  /** Where the value begins and ends. */
  begin: number;
  end: number;
}

/** `text`, a valid JSON object, with the given members: those that it has are replaced, others added at its end. */
export function withMembers(text: string, members: Readonly<Record<string, unknown>>): string {
  const found = membersOf(text);
  let edited = text;
  for (const { key, begin, end } of [...found].reverse()) {
    if (Object.hasOwn(members, key)) edited = edited.slice(0, begin) + JSON.stringify(members[key]) + edited.slice(end);
  }
  const added = Object.entries(members).filter(([key]) => !found.some((member) => member.key === key));
  if (added.length === 0) return edited;
  const close = edited.lastIndexOf('}');
  const before = edited.slice(0, close).trimEnd();
  const lines = added.map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`);
  return `${before}${found.length === 0 ? '' : ','}\n${lines.join(',\n')}\n${edited.slice(close)}`;
}

const TOKEN = /"(?:\\.|[^"\\])*"|[{}[\]:,]|[^\s"{}[\]:,]+/g;

/** The members of the outermost object. */
function membersOf(text: string): Member[] {
  const members: Member[] = [];
  let depth = 0;
  let key: string | undefined; // of the member whose value comes next
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    if (depth === 1 && token === ':') continue;
    if (depth === 1 && key === undefined && token.startsWith('"')) {
      key = JSON.parse(token) as string;
      members.push({ key, begin: -1, end: -1 });
      continue;
    }
    if (depth === 1 && (token === ',' || token === '}')) key = undefined;
    const member = members.at(-1);
    if (member !== undefined && key !== undefined) {
      if (member.begin < 0) member.begin = index;
      member.end = index + token.length;
    }
    if (token === '{' || token === '[') depth++;
    if (token === '}' || token === ']') depth--;
  }
  return members;
}
