#!/usr/bin/env node
/** prebuildify calls this instead of node-gyp. Its options are ignored: it gets the ordinary, incremental build. */
import './build-native.mjs';
