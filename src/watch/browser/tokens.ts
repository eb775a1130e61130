/** Tells the numbers of a token: of the one under the pointer, or the one that arrow keys have chosen. */

const STEPS: Readonly<Record<string, number>> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/** Listens for keys and pointers on tokens. */
export function chooseTokens(): void {
  document.addEventListener('keydown', (event) => {
    const list = (event.target as Element).closest?.('.tokens');
    if (list === null || list === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const tokens = [...list.querySelectorAll('.token')];
    const now = tokens.findIndex((token) => token.id === list.getAttribute('aria-activedescendant'));
    const step = STEPS[event.key];
    const ends: Record<string, number> = { Home: 0, End: tokens.length - 1 };
    const next = step === undefined ? ends[event.key] : Math.min(tokens.length - 1, Math.max(0, now + step));
    if (next === undefined) return;
    event.preventDefault();
    choose(list, tokens[next] as Element);
  });
  document.addEventListener('pointerover', (event) => {
    const token = (event.target as Element).closest?.('.tokens .token');
    if (token) choose(token.parentElement as Element, token);
  });
}

function choose(list: Element, token: Element): void {
  list.querySelector('[aria-selected="true"]')?.setAttribute('aria-selected', 'false');
  token.setAttribute('aria-selected', 'true');
  list.setAttribute('aria-activedescendant', token.id);
  if (document.activeElement === list) token.scrollIntoView({ block: 'nearest' });
  const told = document.querySelector('#token-numbers');
  if (told !== null) told.textContent = token.getAttribute('aria-label');
}
