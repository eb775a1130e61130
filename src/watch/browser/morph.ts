/** Makes a part of the page equal to a newer one, with as few changes as there are: what has focus or is unfolded stays so. */

/** What the page itself changes: whether details are unfolded, which token is chosen, and what its script adds. */
function isOwn(element: Element, name: string): boolean {
  return (element.tagName === 'DETAILS' && name === 'open') || /^aria-(selected|activedescendant)$/.test(name);
}

/** Makes `old` equal to `fresh`, which is used up. Elements with `data-own` are the script's, and stay. */
export function morph(old: Element, fresh: Element): void {
  if (old.isEqualNode(fresh)) return;
  if (old.tagName !== fresh.tagName || old.id !== fresh.id) {
    old.replaceWith(fresh);
    return;
  }
  for (const { name, value } of [...fresh.attributes])
    if (!isOwn(old, name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes])
    if (!isOwn(old, name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  const before = [...old.childNodes].filter((node) => !(node instanceof Element && node.hasAttribute('data-own')));
  const after = [...fresh.childNodes];
  for (const [i, node] of after.entries()) {
    const place = before[i];
    if (place === undefined) old.append(node);
    else if (place instanceof Element && node instanceof Element) morph(place, node);
    else if (place instanceof Text && node instanceof Text) {
      if (place.data !== node.data) place.data = node.data;
    } else place.replaceWith(node);
  }
  for (const node of before.slice(after.length)) node.remove();
}
