/** The style sheet of a report: phone and desktop width, light and dark. */

/** Color of a run in light and in dark, and its dashes: a curve is told apart by dashes and by its letter, too. */
const RUNS: readonly [light: string, dark: string, dashes: string][] = [
  ['#0b57b0', '#74b4ff', 'none'],
  ['#b03a06', '#ff9a5c', '7 3'],
  ['#0b7355', '#3fd2a0', '2 3'],
  ['#8b2f8b', '#e59be5', '9 3 2 3'],
  ['#6d5600', '#e3c44e', '4 4'],
  ['#455768', '#b3c3d3', '12 4'],
];

/** Runs beyond the last color begin again with the first. */
export const RUN_STYLES = RUNS.length;

const colors = (scheme: 0 | 1) => RUNS.map((run, i) => `--run-${i}:${run[scheme]};`).join('');
const runRules = RUNS.map(
  ([, , dashes], i) => `.run-${i}{color:var(--run-${i})}.run-${i} .line,.run-${i} .sample{stroke-dasharray:${dashes}}`,
).join('\n');

export const STYLE = `
:root{color-scheme:light dark;--back:#ffffff;--card:#ffffff;--text:#17202a;--soft:#56616d;--edge:#d8dee5;--mark:#fff3cd;${colors(0)}}
@media (prefers-color-scheme:dark){:root{--back:#11161c;--card:#181f27;--text:#e7edf3;--soft:#a3b0bd;--edge:#313c48;--mark:#4a3d12;${colors(1)}}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.25rem 1rem 3rem;max-width:84rem;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .75rem}
h2{font-size:1.2rem;margin:2.25rem 0 .75rem}
h4{font-size:.85rem;margin:1rem 0 .4rem;color:var(--soft)}
h3{font-size:.95rem;margin:1.5rem 0 .6rem;color:var(--soft);font-weight:600}
p{margin:.25rem 0 1rem}
.soft,figcaption .soft{color:var(--soft)}
.grid-of-charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,24rem),1fr));gap:1rem}
figure{margin:0;padding:.75rem .75rem .5rem;border:1px solid var(--edge);border-radius:.5rem;background:var(--card);min-width:0}
figcaption{display:flex;flex-wrap:wrap;gap:0 .9rem;align-items:baseline;margin-bottom:.25rem}
figcaption b{font-weight:650}
figcaption span{font-size:.85rem;font-variant-numeric:tabular-nums}
svg{display:block;width:100%;height:auto}
svg.sample{display:inline-block;width:2.2rem;height:.75rem;vertical-align:middle;margin-right:.4rem}
.grid{stroke:var(--edge);stroke-width:1}
.axis{stroke:var(--soft);stroke-width:1;fill:none}
.tick{font:11px system-ui,sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}
.end{font:bold 12px system-ui,sans-serif;fill:currentColor}
.line{fill:none;stroke:currentColor;stroke-width:1.8;stroke-linejoin:round}
.band{fill:currentColor;opacity:.13}
.healthy{fill:var(--run-2);opacity:.1}
circle{fill:currentColor}
.best{fill:none;stroke:currentColor;stroke-width:1.8}
${runRules}
.scroll{overflow-x:auto;border:1px solid var(--edge);border-radius:.5rem;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.4rem .7rem;border-bottom:1px solid var(--edge);vertical-align:top}
tr:last-child>*{border-bottom:0}
td{font-variant-numeric:tabular-nums}
.text td{overflow-wrap:anywhere;min-width:9rem}
.numbers td,.numbers th{white-space:nowrap}
th{font-weight:600}
tbody th{font-weight:500;white-space:nowrap}
.differs>*{background:var(--mark)}
.answer{white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}
.samples{display:grid;gap:.75rem}
.pair{border:1px solid var(--edge);border-radius:.5rem;background:var(--card);padding:.75rem .9rem;min-width:0}
.pair p{margin:0}
.pair .prompt{color:var(--soft);margin-bottom:.4rem}
.pair .numbers{margin-top:.5rem;font-size:.85rem;color:var(--soft)}
summary{cursor:pointer;padding:.4rem 0}
:focus-visible{outline:2px solid var(--run-0);outline-offset:2px}
@media (max-width:30rem){body{padding:1rem .75rem 2rem}h1{font-size:1.35rem}th,td{padding:.35rem .5rem}}
@media print{figure,.pair{break-inside:avoid}}
`.trim();
