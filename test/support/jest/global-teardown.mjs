export default async function globalTeardown() {
  await Promise.all(globalThis.sharedForTests.map((shared) => shared.stop()));
}
