declare module 'node-gyp-build' {
  /** Loads the addon of the package in `folder`: from build/Release, else the fitting one of prebuilds/. */
  export default function load(folder: string): unknown;
}
