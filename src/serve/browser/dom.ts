/** Elements. What comes from people or models becomes text nodes and attributes, never markup. */

type Child = Node | string | false | null | undefined;
/** Attributes, and listeners as `onclick`; false and undefined leave an attribute out. */
export type Props = Readonly<Record<string, unknown>>;

/** A new element. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value as EventListener);
    else if (name.startsWith('aria-') && typeof value === 'boolean') element.setAttribute(name, `${value}`);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(name, `${value}`);
  }
  element.append(...children.filter((one) => one !== false && one !== null && one !== undefined));
  return element;
}

/** A button. `key` names it when what it is in is drawn again. */
export function button(label: string, onclick: () => void, { key, ...props }: Props & { key?: string } = {}) {
  return el('button', { type: 'button', 'data-key': key, ...props, onclick }, label);
}

/** Replaces the children of an element; what had the focus keeps it, if it is there again. */
export function redraw(element: Element, ...children: Child[]): void {
  const key = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.key : undefined;
  const had = element.contains(document.activeElement);
  element.replaceChildren(...children.filter((one) => one !== false && one !== null && one !== undefined));
  if (had && key !== undefined) focusKey(element, key);
}

/** Gives the focus to the element with this key. */
export function focusKey(element: Element, key: string): void {
  const found = [...element.querySelectorAll<HTMLElement>('[data-key]')].find((one) => one.dataset.key === key);
  found?.focus({ preventScroll: true });
}
