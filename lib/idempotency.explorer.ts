import { Inject, Injectable, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import type { CallIdentity } from './engine/policy.js';
import { type IdempotentCall, localCall } from './idempotency.call.js';
import { IDEMPOTENCY_OPTIONS } from './idempotency.constants.js';
import { IdempotencyError, IdempotencyOptionsError } from './idempotency.errors.js';
import { manage, managesFrom, type MethodCaller } from './idempotency.managed.js';
import type { IdempotencyModuleOptions } from './idempotency.options.js';
import { IdempotentRoute } from './idempotency.route.js';
import { ValueRunner } from './idempotency.runner.js';
import { idempotentMetadata } from './idempotent.decorator.js';
import { type LockedMetadata, lockedMetadata } from './locked.decorator.js';
import { handledCall } from './locked.call.js';
import { LockedRoute } from './locked.route.js';
import { LockedRunner } from './locked.runner.js';
import { jobOf } from './transports/bullmq-job.js';
import { checkSchedule, CronFace } from './transports/cron-face.js';
import { cronOptionsOf } from './transports/cron-ticks.js';
import { watchGolevelup } from './transports/golevelup-consumers.js';
import { checkSubscription } from './transports/golevelup-face.js';
import { JobFace } from './transports/job-face.js';
import { bypassed, isMessageHandler, refuseEndless, refuseManualAck } from './unfit-handlers.js';

/** A method with `complete: true`, whose calls can be made again from their arguments. */
export interface CompletableMethod {
  readonly route: IdempotentRoute;
  readonly instance: object;
  readonly method: Function;
}

type Wrapper = ReturnType<DiscoveryService['getProviders']>[number];

/** Finds every method with `@Idempotent` or `@Locked` at start-up: checks its options and takes charge of its object. */
@Injectable()
export class IdempotencyExplorer implements OnModuleInit, OnModuleDestroy, MethodCaller {
  private readonly routes = new WeakMap<Function, Map<Function, IdempotentRoute>>();
  /** Found at start-up. */
  readonly completable: CompletableMethod[] = [];
  private readonly lockedRoutes = new WeakMap<LockedMetadata, LockedRoute>();
  private readonly lockedMethods = new WeakMap<Function, LockedMetadata>();
  private readonly scheduled = new WeakSet<Function>();
  private started!: () => void;

  constructor(
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(MetadataScanner) private readonly scanner: MetadataScanner,
    @Inject(IDEMPOTENCY_OPTIONS) private readonly options: IdempotencyModuleOptions,
    @Inject(ValueRunner) private readonly runner: ValueRunner,
    @Inject(LockedRunner) private readonly locked: LockedRunner,
    @Inject(JobFace) private readonly jobs: JobFace,
    @Inject(CronFace) private readonly cron: CronFace,
  ) {
    managesFrom(new Promise((started) => (this.started = started)));
  }

  /** @throws IdempotencyOptionsError naming the handler whose options are wrong. */
  onModuleInit(): void {
    try {
      this.explore();
    } finally {
      this.started();
    }
  }

  onModuleDestroy(): void {
    this.started();
  }

  private explore(): void {
    watchGolevelup(this.discovery.getProviders().map(({ instance }) => instance as unknown));
    const owners = new Map<string, Function>();
    const controllers = this.discovery.getControllers();
    for (const wrapper of [...controllers, ...this.discovery.getProviders()]) {
      const found = objectOf(wrapper);
      if (!found) continue;
      const { owner, type } = found;
      for (const name of this.scanner.getAllMethodNames(type.prototype as object)) {
        const method: unknown = (type.prototype as Record<string, unknown>)[name];
        if (typeof method !== 'function') continue;
        const route = this.routeOf(type, method);
        if (route) {
          refuseEndless(method, `@Idempotent on ${route.label}`);
          refuseManualAck(type, method, `@Idempotent on ${route.label}`);
          refuseSharedByAccident(owners, route, type);
          checkSchedule(route, method);
          checkSubscription(route.label, method);
          if (cronOptionsOf(method)) this.scheduled.add(method);
          if (route.policy.complete) {
            refuseIncompletable(route, controllers.includes(wrapper), owner === type);
            this.completable.push({ route, instance: owner, method });
          }
        }
        const locked = lockedMetadata(method);
        if (locked) {
          refuseEndless(method, `@Locked on ${this.lockedRouteOf(locked, type, method).label}`);
          this.lockedMethods.set(method, locked);
        }
        if (route || locked) manage(owner, this);
      }
    }
  }

  /** The route of a decorated method of a class; undefined when it is not decorated. */
  routeOf(type: Function, method: Function): IdempotentRoute | undefined {
    const metadata = idempotentMetadata(method);
    if (!metadata) return undefined;
    let ofType = this.routes.get(type);
    if (!ofType) this.routes.set(type, (ofType = new Map()));
    let route = ofType.get(method);
    if (!route)
      ofType.set(
        method,
        (route = new IdempotentRoute(`${type.name}.${method.name}`, metadata, this.options)),
      );
    return route;
  }

  /** What a handler locks, if it was found at start-up. */
  lockedOf(handler: Function): LockedMetadata | undefined {
    return this.lockedMethods.get(handler);
  }

  /** A method with `@Locked`, its options resolved. */
  lockedRouteOf(locked: LockedMetadata, type: Function, method: Function): LockedRoute {
    let route = this.lockedRoutes.get(locked);
    if (!route) {
      route = new LockedRoute(`${type.name}.${method.name}`, locked, this.options);
      this.lockedRoutes.set(locked, route);
    }
    return route;
  }

  lock(
    locked: LockedMetadata,
    instance: object,
    method: Function,
    args: readonly unknown[],
    body: () => unknown,
  ): Promise<unknown> {
    const route = this.lockedRouteOf(locked, instance.constructor, method);
    const call = handledCall(locked) ?? localCall({ transport: 'method', scope: route.label, args });
    return this.locked.run(route, call, body);
  }

  async call(instance: object, method: Function, args: readonly unknown[]): Promise<unknown> {
    const route = this.routeOf(instance.constructor, method)!;
    const isMessage = isMessageHandler(method);
    if (route.readsHeader && !isMessage) {
      throw new IdempotencyOptionsError(
        `@Idempotent on ${route.label} was called as a method, without a request: give it a key of its own, ` +
          `for example @Idempotent('${method.name}:{args.0}')`,
      );
    }
    const job = jobOf(args);
    if (job) return this.jobs.handle(route, job, instance, method, args);
    if (this.scheduled.has(method)) return this.cron.handle(route, instance, method, args);
    const call = localCall({ transport: 'method', scope: route.scope, args });
    const identity = await (isMessage ? identifyMessage(route, call) : route.identify(call));
    return this.runner.runIdentified(identity, route, call, method, () => method.apply(instance, args));
  }
}

function objectOf(wrapper: Wrapper): { owner: object; type: Function } | undefined {
  // Made per request, or per user: there are more of them than can be found now.
  const isOneOfMany = wrapper.isTransient || !wrapper.isDependencyTreeStatic();
  if (isOneOfMany && typeof wrapper.metatype === 'function' && !wrapper.inject) {
    return { owner: wrapper.metatype, type: wrapper.metatype };
  }
  const instance: unknown = wrapper.instance;
  if (typeof instance !== 'object' || instance === null || typeof instance.constructor !== 'function')
    return undefined;
  return { owner: instance, type: instance.constructor };
}

/** Not to be run unprotected because it came in a way that leaves no key, whether one is required or not. */
async function identifyMessage(route: IdempotentRoute, call: IdempotentCall): Promise<CallIdentity> {
  let cause: unknown;
  try {
    const identity = await route.identify(call);
    if (identity) return identity;
  } catch (error) {
    if (error instanceof IdempotencyError && error.code !== 'key-missing') throw error;
    cause = error;
  }
  throw bypassed(`@Idempotent on ${route.label}`, cause);
}

/** A call that other processes cannot make from its arguments alone. */
function refuseIncompletable(route: IdempotentRoute, isController: boolean, isPerRequest: boolean): void {
  const where = `@Idempotent on ${route.label}: complete is true, but`;
  if (isController) {
    throw new IdempotencyOptionsError(
      `${where} the request and the response of a handler cannot be rebuilt; put it on the provider's method that does ` +
        'the work, and call that from the handler',
    );
  }
  if (isPerRequest) {
    throw new IdempotencyOptionsError(
      `${where} its class is made per request; give it the default scope, so that there is one to do the work`,
    );
  }
  if (route.readsHeader) {
    throw new IdempotencyOptionsError(
      `${where} a method has no Idempotency-Key header; give it a key of its own, for example ` +
        `@Idempotent('${route.label}:{args.0}', { complete: true })`,
    );
  }
}

/** Two classes of one name would share their keys without anybody having said so. */
function refuseSharedByAccident(owners: Map<string, Function>, route: IdempotentRoute, type: Function): void {
  if (route.scope !== route.label) return;
  const other = owners.get(route.label) ?? type;
  if (other !== type) {
    throw new IdempotencyOptionsError(
      `@Idempotent on ${route.label}: two different classes have this name, so their keys would be shared; ` +
        'give one of them { scope: "…" }',
    );
  }
  owners.set(route.label, type);
}
