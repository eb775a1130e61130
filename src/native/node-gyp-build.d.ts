declare module 'node-gyp-build' {
  const nodeGypBuild: {
    /** The file of the addon of the package in `folder`: in build/Release, else the fitting one of prebuilds/. */
    resolve(folder: string): string;
  };
  export default nodeGypBuild;
}
