import { defineConfig } from 'vitest/config';
import { slowest } from './test/slowest.ts';

// One process at a time: libtorch already uses every core, and two suites side by side would only slow each other down.
export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 1,
    include: ['test/**/*.test.ts'],
    exclude: ['node_modules/**', 'test/smollm2/**'],
    reporters: [slowest, 'default'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
