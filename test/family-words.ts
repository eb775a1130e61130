/**
 * Where code may say the name of one family. Everywhere else a model is a LanguageModel, whatever its family: another one takes
 * a table and a class, and changes nothing that is there.
 */

/** Files that are about PaLM, or about the library whose files it reads. */
const OWN =
  /^src\/(families|models|config|config\/options)\/palm\.ts$|^src\/import\/palm-rlhf-pytorch\/|^src\/models\/registry\.ts$|^src\/index\.ts$/;

/** Families that are tables: they are named there, and where files of other projects say which family they hold. */
const TABLES = /^src\/(families|import\/gguf|tokenizer)\//;
/** Another project, and a tool of it. */
const PROJECTS = /llama\.cpp|llama-gguf-split/g;
const TABLE_WORDS =
  /llama|mistral|smollm|qwen|gemma|gpt_?-?(2|j|neo|bigcode)|neox|starcoder|stablelm|falcon|bloom|olmo|granite|\bcohere\b|\bphi3?\b|\bopt\b/i;

/** What is no name of the family, or has to stay: in all files, or in those that `in` names. */
const ALLOWED: readonly { says: RegExp; in?: RegExp; why: string }[] = [
  { says: /palm-rlhf-pytorch/gi, why: 'the library whose files are read' },
  { says: /palm-rlhf/g, why: 'the package' },
  { says: /\bPalm(Error|Warning)\b/g, why: 'errors and warnings of the package' },
  { says: /\bPALM_[A-Z0-9_]+/g, why: 'environment variables and macros of the package, and the kind of its errors' },
  { says: /\blibpalm[\w.-]*|\bpalm\.node\b|\bpalm_register\w*/g, why: 'the libraries of the package' },
  { says: /\bnamespace palm\b|\bpalm::/g, in: /^native\//, why: 'the namespace of the package' },
  { says: /NODE_API_MODULE\(palm,|\(env, "palm"\)/g, in: /^native\/binding\//, why: 'what Node.js calls the addon' },
  { says: /\bpalm\b/g, in: /^native\/binding\/loader\.cc$/, why: 'the path of libpalm.so' },
  {
    says: /\bpalm (?=(doctor|evaluate|export|generate|implicit-prm|import|libtorch|recipes|report|reward|score|serve|sweep|train|watch|METHOD)\b)/g,
    why: 'a command that helps',
  },
  { says: /'palm'/g, in: /^src\/cli\//, why: 'the command, and our names in `export --names`' },
  { says: /\bpalm\b/g, in: /^src\/cli\/doctor\.ts$/, why: 'the version of the package in the report' },
  { says: /'palm'|"palm"/g, in: /^src\/models\//, why: 'our names of tensors, in `save`' },
  { says: /'palm\.'/g, in: /^src\/models\/reward-file\.ts$/, why: 'what files have before the tensors of a trunk' },
  { says: /'PaLM'/g, in: /^src\/models\/model-file\.ts$/, why: 'the class that reads the file of an actor-critic' },
  { says: /\bget palm\(\)/g, in: /^src\/models\/(actor-critic|reward-model)\.ts$/, why: 'the deprecated accessors' },
  { says: /\bpalm\b/g, in: /^src\/trainers\/parts\.ts$/, why: 'the deprecated name of a part' },
  {
    says: /\bpalmConfig\b|'\.\/palm\.ts'/g,
    in: /^src\/config\/pretrain\.ts$/,
    why: 'what the command trains is a new PaLM',
  },
];

const TEXT = /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`)|\/\/.*|\/\*[\s\S]*?\*\//g;

/** The code of a file: without comments, in as many lines. */
export function withoutComments(text: string): string {
  return text.replace(TEXT, (all, literal: string | undefined) => literal ?? all.replace(/[^\n]/g, ''));
}

/** Lines of code that name a family without a reason. */
export function familyWords(file: string, text: string): string[] {
  return [...palmWords(file, text), ...tableWords(file, text)];
}

function tableWords(file: string, text: string): string[] {
  if (TABLES.test(file)) return [];
  const lines = withoutComments(text).split('\n');
  return lines.flatMap((line, i) =>
    TABLE_WORDS.test(line.replaceAll(PROJECTS, '')) ? [`${file}:${i + 1}: ${line.trim()}`] : [],
  );
}

function palmWords(file: string, text: string): string[] {
  if (OWN.test(file)) return [];
  const rules = ALLOWED.filter((rule) => rule.in === undefined || rule.in.test(file));
  const lines = withoutComments(text).split('\n');
  return lines.flatMap((line, i) => {
    const rest = rules.reduce((said, { says }) => said.replaceAll(says, ''), line);
    return /palm/i.test(rest) ? [`${file}:${i + 1}: ${line.trim()}`] : [];
  });
}

/** Rules that no line of these files needs. */
export function needlessRules(files: readonly (readonly [file: string, text: string])[]): string[] {
  const code = files.map(([file, text]) => [file, withoutComments(text)] as const);
  const used = ({ says, in: place = /^/ }: (typeof ALLOWED)[number]) =>
    code.some(([file, text]) => !OWN.test(file) && place.test(file) && text.search(says) >= 0);
  return ALLOWED.filter((rule) => !used(rule)).map(({ why }) => why);
}
