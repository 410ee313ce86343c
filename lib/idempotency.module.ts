import { Logger, Module } from '@nestjs/common';
import { APP_INTERCEPTOR, DiscoveryModule } from '@nestjs/core';
import { IdempotencyEngine } from './engine/engine.js';
import { LeaseKeeper } from './engine/lease-keeper.js';
import { IDEMPOTENCY_OPTIONS } from './idempotency.constants.js';
import { IdempotencyExplorer } from './idempotency.explorer.js';
import { IdempotencyInterceptor } from './idempotency.interceptor.js';
import { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } from './idempotency.module-definition.js';
import { checkModuleOptions, type IdempotencyModuleOptions, resolveOptions } from './idempotency.options.js';
import { ReconcileHooks } from './idempotency.reconcile.js';
import { ValueRunner } from './idempotency.runner.js';
import { IdempotencyService } from './idempotency.service.js';
import { LockedRunner } from './locked.runner.js';
import { LockService } from './locks/lock.service.js';
import { NoLock } from './locks/no-lock.js';
import { IdempotencyCompleter } from './operations/completer.js';
import { Operator } from './operations/operator.js';
import { IdempotencyShutdown } from './operations/shutdown.js';
import { IdempotencySweeper } from './operations/sweeper.js';
import { ResultStore } from './stores/result-store.js';
import { CronFace } from './transports/cron-face.js';
import { CronTicks } from './transports/cron-ticks.js';
import { GraphqlFace } from './transports/graphql-face.js';
import { GolevelupFace } from './transports/golevelup-face.js';
import { HttpFace } from './transports/http-face.js';
import { JobFace } from './transports/job-face.js';
import { watchConsumers } from './transports/rabbitmq-consumers.js';
import { loadMicroservices } from './transports/rpc-exception.js';
import { RpcFace } from './transports/rpc-face.js';
import { loadWebsockets } from './transports/websocket-exception.js';
import { WebsocketFace } from './transports/websocket-face.js';

/**
 * Makes `@Idempotent` and `@Locked` work, in every controller and provider of the app.
 *
 * @example
 * ```ts
 * IdempotencyModule.forRootAsync({
 *   inject: [DataSource, REDIS],
 *   useFactory: (dataSource: DataSource, redis: Redis) => ({
 *     principal: ({ request }) => request.user?.id,
 *     lock: redisLock({ client: redis }),
 *     store: typeOrmStore({ dataSource }),
 *   }),
 * });
 * ```
 * The app does not start with an option that is missing or wrong (`IdempotencyOptionsError`).
 */
@Module({
  imports: [DiscoveryModule],
  providers: [
    { provide: IDEMPOTENCY_OPTIONS, inject: [MODULE_OPTIONS_TOKEN], useFactory: checkModuleOptions },
    {
      provide: ResultStore,
      inject: [IDEMPOTENCY_OPTIONS],
      useFactory: ({ store }: IdempotencyModuleOptions) => store,
    },
    { provide: LeaseKeeper, useFactory: () => new LeaseKeeper() },
    {
      provide: LockService,
      inject: [IDEMPOTENCY_OPTIONS, LeaseKeeper],
      useFactory: (options: IdempotencyModuleOptions, keeper: LeaseKeeper) =>
        new LockService(options.lock ?? new NoLock(), {
          backendTimeoutMs: resolveOptions(options, {}, 'IdempotencyModule').backendTimeoutMs,
          keeper,
        }),
    },
    {
      provide: IdempotencyEngine,
      inject: [IDEMPOTENCY_OPTIONS, LeaseKeeper],
      useFactory: (options: IdempotencyModuleOptions, keeper: LeaseKeeper) => {
        const { backendTimeoutMs } = resolveOptions(options, {}, 'IdempotencyModule');
        return new IdempotencyEngine({
          store: options.store,
          // Its own: these locks end with their calls, and are not the application's to release.
          locks: options.lock && new LockService(options.lock, { backendTimeoutMs, keeper }),
          backendTimeoutMs,
          log: new Logger('Idempotency'),
          keeper,
        });
      },
    },
    {
      provide: ValueRunner,
      inject: [IdempotencyEngine, ReconcileHooks],
      useFactory: (engine: IdempotencyEngine, hooks: ReconcileHooks) => new ValueRunner(engine, hooks),
    },
    {
      // Before any consumer starts: hybrid apps may start theirs before `onModuleInit`.
      provide: RpcFace,
      inject: [ValueRunner],
      useFactory: async (runner: ValueRunner) => {
        const microservices = await loadMicroservices();
        if (microservices) watchConsumers(microservices);
        return new RpcFace(runner);
      },
    },
    {
      provide: WebsocketFace,
      inject: [ValueRunner],
      useFactory: async (runner: ValueRunner) => {
        await loadWebsockets();
        return new WebsocketFace(runner);
      },
    },
    LockedRunner,
    HttpFace,
    JobFace,
    CronTicks,
    CronFace,
    GraphqlFace,
    GolevelupFace,
    IdempotencyExplorer,
    IdempotencyInterceptor,
    IdempotencyService,
    IdempotencyShutdown,
    IdempotencyCompleter,
    IdempotencySweeper,
    Operator,
    ReconcileHooks,
    { provide: APP_INTERCEPTOR, useExisting: IdempotencyInterceptor },
  ],
  exports: [IdempotencyService, LockService],
})
export class IdempotencyModule extends ConfigurableModuleClass {}
