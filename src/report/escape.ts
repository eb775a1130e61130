/** Text in HTML and SVG. */

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/**
 * `text` as the content of an element or of a quoted attribute: whatever it says, it stays text. Control characters, which HTML
 * does not allow, become U+FFFD.
 */
export function escapeHtml(text: string): string {
  return text
    .replace(/[&<>"']/g, (sign) => ENTITIES[sign] as string)
    .replace(/\p{Cc}/gu, (sign) => {
      return /[\t\n\r]/.test(sign) ? sign : '\ufffd';
    });
}
