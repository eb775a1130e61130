/**
 * Writes docs/api.md: a line for everything that the package exports, with the first sentence of its documentation.
 * `npm run options` runs it; a test says when it has to.
 */
import { writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import ts from 'typescript';

const root = join(import.meta.dirname, '..');
const file = join(root, 'docs/api.md');

/** Headings, by the folders and files of src/ that they are about, in the order of the page. */
const GROUPS: readonly [heading: string, places: RegExp][] = [
  ['Training in one call', /^train\//],
  ['Models', /^(models|families)\/|^sampling/],
  ['Tensors and files', /^(tensor|native)\//],
  ['Models of the hub', /^hub\//],
  ['Losses', /^losses\//],
  ['Advantages and rewards', /^(advantages|rewards)|^trainers\/(combined-reward|rollouts|rewards)/],
  ['Optimizers', /^optim/],
  ['Data', /^data\//],
  ['Tokenizers', /^tokenizer\//],
  ['Trainers', /^trainers\//],
  ['Methods and runs', /^(methods|training|sweep)/],
  ['Settings', /^(config|checks)\//],
  ['Checkpoints', /^checkpoint\//],
  ['Metrics', /^metrics\//],
  ['Errors', /^errors/],
];

const HEAD = `# Programming interface

Everything that \`import … from 'palm-rlhf'\` offers, written by \`npm run options\` from [\`src/index.ts\`](../src/index.ts). Editors show the
whole documentation of each name, with every option, its limits and its default. Programs to begin with: the README's,
[\`examples/\`](../examples), and [training in one call](train.md). The schema of \`PpoConfigInput\` is exported as \`ppoConfig\`, and so on, for
\`parseConfig\`.
`;

/** The text of the page as it should be. */
export function apiReference(): string {
  const { options } = ts.parseJsonConfigFileContent(
    ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config,
    ts.sys,
    root,
  );
  const program = ts.createProgram([join(root, 'src/index.ts')], { ...options, noEmit: true });
  const checker = program.getTypeChecker();
  const index = program.getSourceFile(join(root, 'src/index.ts')) as ts.SourceFile;
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(index) as ts.Symbol);
  const entries = exported.map((symbol) => new Entry(symbol, checker));
  const parts = GROUPS.map(([heading, places]) => {
    const lines = entries.filter(({ place }) => headingOf(place) === heading && places.test(place));
    return `## ${heading}\n\n${lines.flatMap((entry) => entry.lines()).join('\n')}\n`;
  });
  return [HEAD, ...parts].join('\n');
}

function headingOf(place: string): string {
  const found = GROUPS.find(([, places]) => places.test(place));
  if (found === undefined) throw new Error(`no heading of docs/api.md is for src/${place}`);
  return found[0];
}

/** Something exported. */
class Entry {
  readonly name: string;
  /** Its file, from src/. */
  readonly place: string;
  readonly #symbol: ts.Symbol;
  readonly #declarations: readonly ts.Declaration[];
  readonly #checker: ts.TypeChecker;

  constructor(exported: ts.Symbol, checker: ts.TypeChecker) {
    this.name = exported.name;
    this.#checker = checker;
    this.#symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
    this.#declarations = this.#symbol.declarations ?? [];
    const [first] = this.#declarations as [ts.Declaration];
    this.place = relative(join(root, 'src'), first.getSourceFile().fileName);
  }

  /** Its line, and one for every member of a class. */
  lines(): string[] {
    const [first] = this.#declarations as [ts.Declaration];
    if (ts.isClassDeclaration(first)) return this.#classLines(first);
    if (this.#isFilledIn()) return [];
    if (!ts.isFunctionDeclaration(first)) return [this.#line(kindOf(first, this.name))];
    const declared = this.#declarations as ts.FunctionDeclaration[];
    const overloads = declared.length > 1 ? declared.filter(({ body }) => body === undefined) : declared;
    return overloads.map((one, i) => this.#line(signature(this.name, one), i > 0));
  }

  /** Whether it is a schema, or its options with defaults filled in: the line of the options names both. */
  #isFilledIn(): boolean {
    return this.place.startsWith('config/') && /[cC]onfig$/.test(this.name) && this.name !== 'parseConfig';
  }

  #classLines(declaration: ts.ClassDeclaration): string[] {
    const base = declaration.heritageClauses?.find(({ token }) => token === ts.SyntaxKind.ExtendsKeyword);
    const parent = base?.types[0]?.getText() ?? 'Resource';
    const line = this.#line(`class ${this.name}${parent.startsWith('Resource') ? '' : ` extends ${parent}`}`);
    if (this.place === 'errors.ts') return [line];
    const shown = declaration.members.filter((member) => isPublic(member) && member.name?.getText() !== 'dispose');
    return [line, ...shown.flatMap((member) => this.#memberLine(member))];
  }

  #memberLine(member: ts.ClassElement): string[] {
    const symbol = member.name && this.#checker.getSymbolAtLocation(member.name);
    const about = symbol === undefined ? '' : sentence(symbol, this.#checker);
    const isStatic = ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Static ? 'static ' : '';
    const name = `${isStatic}${member.name?.getText()}`;
    if (ts.isConstructorDeclaration(member)) return [item(signature(`new ${this.name}`, member), about, '  ')];
    if (ts.isMethodDeclaration(member)) return [item(signature(name, member), about, '  ')];
    if (ts.isGetAccessor(member)) return [item(`${name}: ${flat(member.type)}`, about, '  ')];
    if (ts.isPropertyDeclaration(member) && member.type) return [item(`${name}: ${flat(member.type)}`, about, '  ')];
    return [];
  }

  #line(code: string, again = false): string {
    return item(code, again ? '' : sentence(this.#symbol, this.#checker), '');
  }
}

function isPublic(member: ts.ClassElement): boolean {
  const name = member.name;
  if (name !== undefined && (ts.isPrivateIdentifier(name) || ts.isComputedPropertyName(name))) return false;
  if (ts.getJSDocTags(member).some(({ tagName }) => ['internal', 'deprecated'].includes(tagName.text))) return false;
  return !(ts.getCombinedModifierFlags(member) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected));
}

function kindOf(declaration: ts.Declaration, name: string): string {
  const [, options] = /^(\w+Config)Input$/.exec(name) ?? [];
  if (options !== undefined) return `interface ${name}; filled in: ${options}`;
  if (ts.isInterfaceDeclaration(declaration)) return `interface ${name}`;
  return ts.isTypeAliasDeclaration(declaration) ? `type ${name}` : `const ${name}`;
}

function signature(name: string, { parameters, type }: ts.SignatureDeclarationBase): string {
  const shown = parameters.map((parameter, i) => {
    const { name: given, initializer, questionToken, dotDotDotToken, type } = parameter;
    const word = ts.isIdentifier(given) ? given.text : i === 0 ? 'parts' : 'options';
    if (type === undefined) return `${word} = ${initializer?.getText()}`;
    const optional = questionToken !== undefined || initializer !== undefined ? '?' : '';
    return `${dotDotDotToken ? '...' : ''}${word}${optional}: ${flat(type)}`;
  });
  return `${name}(${shown.join(', ')})${type === undefined ? '' : `: ${flat(type)}`}`;
}

/** A type in one line. */
function flat(type: ts.TypeNode | undefined): string {
  return type === undefined ? 'unknown' : type.getText().replaceAll(/\s+/g, ' ');
}

function sentence(symbol: ts.Symbol, checker: ts.TypeChecker): string {
  const text = ts.displayPartsToString(symbol.getDocumentationComment(checker)).replaceAll(/\s+/g, ' ').trim();
  return /^.*?(?<!\.\.|al)\.(?= [A-Z`]|$)/.exec(text)?.[0] ?? text;
}

function item(code: string, about: string, indent: string): string {
  return `${indent}- \`${code}\`${about === '' ? '' : ` — ${about}`}`;
}

if (process.argv[1] === import.meta.filename) writeFileSync(file, apiReference());
