export default async function globalTeardown() {
  await Promise.all(globalThis.sharedTestServers.map((server) => server.stop()));
}
