#!/usr/bin/env node
/** What prebuildify calls in place of node-gyp. Its options mean nothing to cmake: it gets the ordinary, incremental build. */
import './build-native.mjs';
