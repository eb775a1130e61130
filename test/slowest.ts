import type { Reporter, TestModule } from 'vitest/node';

const SHOWN = 10;

/** Prints the files that took longest, importing included, where more than one was run. */
export const slowest: Reporter = {
  onTestRunEnd(modules) {
    if (modules.length < 2) return;
    const slow = modules.toSorted((a, b) => seconds(b) - seconds(a)).slice(0, SHOWN);
    const total = modules.reduce((sum, module) => sum + seconds(module), 0);
    console.log(`\nSlowest of ${modules.length} files, which took ${Math.round(total)} s:`);
    for (const module of slow) console.log(`${seconds(module).toFixed(1).padStart(7)} s  ${module.relativeModuleId}`);
  },
};

function seconds(module: TestModule): number {
  const { collectDuration, duration } = module.diagnostic();
  return (collectDuration + duration) / 1000;
}
