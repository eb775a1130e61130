/** What the scripts and benchmarks of a clone use besides the public surface. */
export { Random } from './data/random.ts';
export { hfEntry } from './families/registry.ts';
export { calibrationOf } from './metrics/calibration.ts';
export { addon } from './native/addon.ts';
export { installLibtorch } from './native/install-libtorch.ts';
export { findLibtorchToBuild, LIBTORCH_VERSION } from './native/libtorch.ts';
export { handleOf } from './native/resource.ts';
