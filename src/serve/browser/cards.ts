/** The exchanges of a thread: messages, and the answers to them side by side. */
import type { ShownAnswer } from '../chats/shown.ts';
import type { App } from './app.ts';
import { copyAsCurl } from './curl.ts';
import { button, el, redraw } from './dom.ts';
import { canPick, type Exchange, leafBelow, leafOfTurn, letterOf } from './thread.ts';

const STATES = { in_progress: 'is being written', complete: '', stopped: 'stopped', failed: 'failed', lost: 'lost' };

/** The texts of answers that are drawn, which grow while they are written. */
export class Cards {
  readonly element = el('ol', { class: 'thread', 'aria-label': 'Messages' });
  readonly #app: App;
  readonly #texts = new Map<string, Text>();

  constructor(app: App) {
    this.#app = app;
  }

  draw(): void {
    this.#texts.clear();
    const { thread } = this.#app;
    const items = thread.map((exchange, i) => this.#exchange(exchange, i === thread.length - 1));
    redraw(this.element, ...items);
  }

  grow(id: string, text: string): void {
    this.#texts.get(id)?.appendData(text);
  }

  #exchange(exchange: Exchange, isLast: boolean): HTMLElement {
    const { answers, on } = exchange;
    const isOpen = isLast || canPick(answers);
    const others = answers.filter((one) => one !== on);
    return el(
      'li',
      {},
      this.#user(exchange),
      el(
        'div',
        { class: 'answers', 'data-count': isOpen ? answers.length : 1 },
        ...(isOpen ? answers : [on]).map((answer) => this.#card(answer, exchange)),
      ),
      !isOpen && others.length > 0 && this.#others(others, exchange),
      this.#turns(exchange, isLast),
    );
  }

  #user({ user, versions }: Exchange): HTMLElement {
    const app = this.#app;
    if (app.editing?.id === user.id) return this.#editor(app.editing);
    const edit = button('Edit', () => this.#edit(user.id, user.text), { key: `edit ${user.id}`, disabled: app.isLive });
    const at = versions.findIndex(({ id }) => id === user.id);
    const show = (i: number) =>
      void app.show(leafBelow(app.tree?.messages ?? [], versions[i]?.id as string), `Version ${i + 1} of the message`);
    const switcher = this.#switcher('Versions of the message', versions.length, at, `version ${user.parent}`, show);
    return el(
      'div',
      { class: 'user' },
      el('h2', {}, 'You'),
      el('div', { class: 'text', dir: 'auto' }, user.text),
      el('div', { class: 'actions' }, switcher, edit),
    );
  }

  #edit(id: string, text: string): void {
    this.#app.editing = { id, text };
    this.draw();
    this.element.querySelector<HTMLTextAreaElement>('.editor textarea')?.focus();
  }

  #editor(editing: { text: string }): HTMLElement {
    const app = this.#app;
    const area = el('textarea', { 'aria-label': 'Edited message', rows: 4, 'data-key': 'editor' });
    area.value = editing.text;
    area.addEventListener('input', () => {
      editing.text = area.value;
    });
    const cancel = () => {
      app.editing = undefined;
      this.draw();
    };
    area.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') cancel();
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void app.sendEdited();
    });
    const send = button('Send as a new branch', () => void app.sendEdited(), { class: 'primary' });
    return el(
      'section',
      { class: 'user editor' },
      area,
      el('div', { class: 'actions' }, send, button('Cancel', cancel)),
    );
  }

  #others(others: readonly ShownAnswer[], exchange: Exchange): HTMLElement {
    const label = others.length === 1 ? 'One other answer' : `${others.length} other answers`;
    return el(
      'details',
      {},
      el('summary', {}, label),
      el('div', { class: 'answers', 'data-count': others.length }, ...others.map((one) => this.#card(one, exchange))),
    );
  }

  #card(answer: ShownAnswer, exchange: Exchange): HTMLElement {
    const { id, text, state, finish, picked, model } = answer;
    const letter = letterOf(answer);
    const node = document.createTextNode(text);
    this.#texts.set(id, node);
    const notes = [STATES[state], finish === 'length' ? 'cut at its longest' : '', picked === true ? 'picked' : ''];
    const note = [model ?? '', ...notes].filter(Boolean).join(' · ');
    const name = exchange.answers.length > 1 ? `Answer ${letter}` : 'Answer';
    return el(
      'article',
      { class: `card${picked === true ? ' picked' : ''}`, 'aria-label': name, 'aria-busy': state === 'in_progress' },
      el('h2', {}, name, note !== '' && el('small', {}, ` ${note}`)),
      el('div', { class: 'text', dir: 'auto' }, node),
      el('div', { class: 'actions' }, ...this.#actions(answer, exchange)),
    );
  }

  #actions(answer: ShownAnswer, { answers, on }: Exchange): (HTMLElement | false)[] {
    const app = this.#app;
    const { id, vote, state, picked, model } = answer;
    if (state === 'failed' || state === 'lost') return [];
    const letter = letterOf(answer);
    const of = answers.length > 1 ? ` ${letter}` : ' the answer';
    const voting = (value: 1 | -1, label: string) => {
      const pressed = vote === value;
      const act = () => void app.vote(answer, pressed ? 0 : value);
      return button(label, act, { key: `${label} ${id}`, 'aria-pressed': pressed, 'aria-label': `${label}:${of}` });
    };
    const pick = button(`Pick ${letter}`, () => void app.pick(answer), { key: `pick ${id}`, class: 'primary' });
    const go = () => void app.show(leafOfTurn(app.tree?.messages ?? [], [answer]), `Going on from answer ${letter}`);
    const goOn = button(`Go on from ${letter}`, go, { key: `go ${id}`, disabled: app.isLive });
    const curl = button('Copy as curl', () => void copyAsCurl(app, answer), {
      key: `curl ${id}`,
      'aria-label': `Copy as curl:${of}`,
    });
    return [
      answers.length > 1 && picked !== true && pick,
      voting(1, 'Good'),
      voting(-1, 'Bad'),
      answers.length > 1 && answer !== on && goOn,
      model !== null && state !== 'in_progress' && curl,
    ];
  }

  #turns({ user, turns, on }: Exchange, isLast: boolean): HTMLElement | false {
    const app = this.#app;
    const at = turns.findIndex((turn) => turn[0]?.turn === on.turn);
    const show = (i: number) => void app.show(leafOfTurn(app.tree?.messages ?? [], turns[i] ?? []), `Answers ${i + 1}`);
    const again = button('Answer again', () => void app.again(user.id), {
      key: `again ${user.id}`,
      disabled: app.isLive,
    });
    if (!isLast && turns.length === 1) return false;
    return el('div', { class: 'actions' }, this.#switcher('Answers', turns.length, at, `turn ${user.id}`, show), again);
  }

  /** Which of several things is shown, and a way to the others; false for one. */
  #switcher(label: string, count: number, at: number, key: string, show: (i: number) => void): HTMLElement | false {
    if (count < 2) return false;
    const { isLive } = this.#app;
    const step = (name: string, sign: string, to: number) =>
      button(sign, () => show(to), {
        ...{ key: `${name} ${key}`, 'aria-label': `${name}: ${label}`, disabled: isLive || to < 0 || to >= count },
      });
    return el(
      'span',
      { class: 'switcher', role: 'group', 'aria-label': label },
      step('Previous', '‹', at - 1),
      `${at + 1} of ${count}`,
      step('Next', '›', at + 1),
    );
  }
}
