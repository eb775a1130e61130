import { defineConfig } from 'vitest/config';
import config from './vitest.config.ts';

/** `npm run test:smollm2`: the tests that need SmolLM2, which `npm run fetch:smollm2` gets. */
export default defineConfig({
  test: { ...config.test, include: ['test/smollm2/**/*.test.ts'], exclude: ['node_modules/**'] },
});
