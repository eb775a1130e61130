import type { Device } from '../src/tensor.ts';

/** Where the tests compute: every test that touches tensors passes it on. */
export const device: Device = process.env.PALM_TEST_DEVICE ?? 'cpu';
