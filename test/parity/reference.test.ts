/** The recorded numbers once more, computed by the ATen references instead of the fused kernels. */
import { afterAll } from 'vitest';
import { addon } from '../../src/native/addon.ts';

await addon().useKernels(false);
afterAll(() => addon().useKernels(true));
await import('./parity.test.ts');
