/** The shell of a page: all its scripts and styles are assets, as its Content-Security-Policy demands. */

export interface Page {
  /** HTML. */
  title: string;
  /** The name of its script and style sheet among the assets. */
  name: string;
  /** HTML. */
  body: string;
}

/** The HTML of a page. */
export function pageShell({ title, name, body }: Page): string {
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width,initial-scale=1">',
    `<title>${title}</title>`,
    `<link rel="icon" href="data:,"><link rel="stylesheet" href="/assets/${name}.css">`,
    `<script type="module" src="/assets/${name}.js"></script>`,
    `</head><body>${body}</body></html>\n`,
  ].join('\n');
}
