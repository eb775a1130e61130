/** Scripts and style sheets of pages, held in memory: no path of a request reaches the file system. */
import { readFileSync } from 'node:fs';
import { Hono } from 'hono';
import { packagePath } from '../package.ts';

/** Contents by name, as in `watch.css`. */
export type Assets = ReadonlyMap<string, string>;

/** The script and the style sheet of a page, as the build made them from src/NAME/browser/. */
export function builtAssets(name: string): Assets {
  const read = (file: string) => [file, readFileSync(packagePath('dist', 'browser', file), 'utf8')] as const;
  return new Map([read(`${name}.js`), read(`${name}.css`)]);
}

/** The routes below /assets. */
export function assetRoutes(assets: Assets): Hono {
  const routes = new Hono();
  for (const [name, text] of assets) {
    const type = name.endsWith('.css') ? 'text/css; charset=utf-8' : 'text/javascript; charset=utf-8';
    routes.get(`/assets/${name}`, (context) => context.body(text, 200, { 'Content-Type': type }));
  }
  return routes;
}
