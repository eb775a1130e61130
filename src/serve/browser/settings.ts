/** How a chat is answered, in a dialog. */
import type { ShownParameters, ShownSampling } from '../chats/shown.ts';
import type { App } from './app.ts';
import { openDialog } from './dialogs.ts';
import { button, el } from './dom.ts';

type NumberName = Exclude<keyof ShownSampling, 'stop'>;

interface NumberField {
  name: NumberName;
  label: string;
  /** The default. */
  placeholder: string;
  min: number;
  max?: number;
  step: number | 'any';
}

/** The numbers of sampling; empty means that the default counts. */
const NUMBERS: readonly NumberField[] = [
  { name: 'temperature', placeholder: '1', label: 'Temperature', min: 0, max: 2, step: 'any' },
  { name: 'top_p', placeholder: '1', label: 'Top p', min: 0, max: 1, step: 'any' },
  { name: 'top_k', placeholder: 'all', label: 'Top k', min: 0, step: 1 },
  { name: 'min_p', placeholder: '0', label: 'Min p', min: 0, max: 1, step: 'any' },
  { name: 'repetition_penalty', placeholder: '1', label: 'Repetition penalty', min: 0, max: 10, step: 'any' },
  { name: 'frequency_penalty', placeholder: '0', label: 'Frequency penalty', min: -2, max: 2, step: 'any' },
  { name: 'presence_penalty', placeholder: '0', label: 'Presence penalty', min: -2, max: 2, step: 'any' },
  { name: 'max_tokens', placeholder: '512', label: 'Longest answer, in tokens', min: 1, step: 1 },
  { name: 'seed', placeholder: 'a new one each time', label: 'Seed', min: 0, step: 1 },
];

/** Opens the settings of the chat that is shown. */
export function openSettings(app: App): void {
  const { tree } = app;
  if (tree === undefined) return;
  openDialog('Settings of this chat', (close) => [formOf(app, tree.parameters, close)]);
}

function formOf(app: App, { models, n, system, sampling }: ShownParameters, close: () => void): HTMLElement {
  const form = el(
    'form',
    {},
    modelsField(app, models),
    field('Answers to each message', number('n', n, { min: 1, max: 4, step: 1, required: true })),
    field('System message', area('system', system ?? '', 4)),
    el(
      'fieldset',
      {},
      el('legend', {}, 'Sampling'),
      ...NUMBERS.map(({ name, label, ...limits }) => field(label, number(name, sampling[name] ?? '', limits))),
      field('Stop strings, one a line', area('stop', [sampling.stop ?? []].flat().join('\n'), 2)),
    ),
    el(
      'div',
      { class: 'actions' },
      el('button', { type: 'submit', class: 'primary' }, 'Save'),
      button('Cancel', close),
    ),
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void app.setParameters(parametersIn(new FormData(form))).then((saved) => saved && close());
  });
  return form;
}

function modelsField(app: App, chosen: readonly string[]): HTMLElement {
  const isChosen = (name: string, i: number) => (chosen.length === 0 ? i === 0 : chosen.includes(name));
  return el(
    'fieldset',
    {},
    el('legend', {}, 'Models that answer; they are not named before you pick'),
    ...app.models.map(({ name, form }, i) => {
      const box = el('input', { type: 'checkbox', name: 'model', value: name });
      box.checked = isChosen(name, i);
      return el('label', { class: 'check' }, box, ` ${name}${form === 'text' ? ' (continues text)' : ''}`);
    }),
  );
}

function field(label: string, input: HTMLElement): HTMLElement {
  return el('label', { class: 'field' }, el('span', {}, label), input);
}

function number(name: string, value: number | string, limits: object): HTMLInputElement {
  const input = el('input', { type: 'number', name, ...limits });
  input.value = `${value}`;
  return input;
}

function area(name: string, value: string, rows: number): HTMLTextAreaElement {
  const input = el('textarea', { name, rows });
  input.value = value;
  return input;
}

function parametersIn(data: FormData): ShownParameters {
  const textOf = (name: string) => `${data.get(name) ?? ''}`;
  const sampling: ShownSampling = {};
  for (const { name } of NUMBERS) if (textOf(name) !== '') sampling[name] = Number(textOf(name));
  const stop = textOf('stop').split(/\r?\n/).filter(Boolean);
  if (stop.length > 0) sampling.stop = stop;
  const system = textOf('system');
  const models = data.getAll('model').map((name) => `${name}`);
  return { models, n: Number(textOf('n')), system: system.trim() === '' ? null : system, sampling };
}
