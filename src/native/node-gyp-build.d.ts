declare module 'node-gyp-build' {
  const nodeGypBuild: {
    /** The addon's file of the package in `folder`: in build/Release, else the matching one in prebuilds/. */
    resolve(folder: string): string;
  };
  export default nodeGypBuild;
}
