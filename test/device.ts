import type { Device } from '../src/tensor/tensor.ts';

/** Where the tests compute: every test that touches tensors passes it on. */
export const device: Device = process.env.PALM_TEST_DEVICE ?? 'cpu';
/** Whether CUDA's kernels are emulated on the CPU (test/cuda/addon): slowly, and with other scratch memory. */
export const emulated: boolean = process.env.PALM_EMULATE_CUDA !== undefined;
/** Whether the CPU's own kernels compute. */
export const cpuKernels: boolean = device === 'cpu' && !emulated;
