/** What `npm ci` does in a clone: makes sure of a libtorch, then builds the native addon against it. */
import { findLibtorchToBuild, installLibtorch } from '../dist/libtorch.js';

try {
  await ensureLibtorch();
  await import('./build-native.mjs');
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

async function ensureLibtorch() {
  if (isThere()) return;
  await installLibtorch({ cuda: false, note: console.error });
}

function isThere() {
  try {
    findLibtorchToBuild();
    return true;
  } catch (error) {
    // An explicit choice that is unusable is the user's to correct; only where there is none is one fetched.
    if (error.argument !== 'libtorch') throw error;
    return false;
  }
}
