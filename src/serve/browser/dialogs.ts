/** Dialogs: they keep the focus inside, end with Escape, and give the focus back. */
import { button, el } from './dom.ts';

/** Opens a dialog with a title and what `content` makes, which gets a function that closes it. */
export function openDialog(title: string, content: (close: () => void) => (Node | string)[]): HTMLDialogElement {
  const dialog = el('dialog', { 'aria-label': title });
  const close = () => dialog.close();
  dialog.append(el('h2', {}, title), ...content(close));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Asks before something that cannot be undone. */
export function confirmFirst(title: string, text: string, label: string, act: () => void): void {
  openDialog(title, (close) => [
    el('p', {}, text),
    el(
      'div',
      { class: 'actions' },
      button('Cancel', close, { autofocus: true }),
      button(
        label,
        () => {
          close();
          act();
        },
        { class: 'danger' },
      ),
    ),
  ]);
}
