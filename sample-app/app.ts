import type { Server } from 'node:http';
import { type INestApplication, type LogLevel, ValidationPipe } from '@nestjs/common';
import { HttpAdapterHost, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import type { ValidationError } from 'class-validator';
import { TransitionErrorFilter } from 'nestjs-idempotent/stores/typeorm';
import { AppModule } from './app.module.js';
import type { Environment } from './config/environment.js';
import { Problem, ProblemFilter } from './problem.js';
import { refundConsumer } from './refunds/rabbitmq.queue.js';

/** Longer than clients keep a connection they do not use: else a request may meet one that is just being closed. */
const KEEP_ALIVE_MS = 72_000;
const LOG_LEVELS: LogLevel[] = ['warn', 'error', 'fatal'];

/** The app, ready to listen. */
export async function createApp(environment: Environment): Promise<INestApplication> {
  const adapter = environment.HTTP === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
  const app = await NestFactory.create(AppModule.of(environment), adapter, {
    logger: LOG_LEVELS,
    abortOnError: false,
    // A webhook is signed as it came, not as what was parsed of it.
    rawBody: environment.WEBHOOK_SECRET !== undefined,
  });
  app.useGlobalPipes(new ValidationPipe({ whitelist: true, exceptionFactory: invalidRequest }));
  const host = app.get(HttpAdapterHost);
  app.useGlobalFilters(new ProblemFilter(host), new TransitionErrorFilter(host));
  app.enableShutdownHooks();
  (app.getHttpServer() as Server).keepAliveTimeout = KEEP_ALIVE_MS;
  serveApiPage(app);
  const { AMQP_URL, ROLE } = environment;
  // Guards, pipes and interceptors are those of the app, @Idempotent among them.
  if (AMQP_URL !== undefined && ROLE !== 'refund')
    app.connectMicroservice(refundConsumer(AMQP_URL), { inheritAppConfig: true });
  // Before the first command comes.
  await app.init();
  await app.startAllMicroservices();
  return app;
}

function serveApiPage(app: INestApplication): void {
  const description = new DocumentBuilder()
    .setTitle('Refunds')
    .setDescription('The sample app of nestjs-idempotent: money must leave once.')
    .build();
  SwaggerModule.setup('api', app, () => SwaggerModule.createDocument(app, description));
}

function invalidRequest(errors: ValidationError[]): Problem {
  const reasons = errors.flatMap(({ constraints = {} }) => Object.values(constraints));
  return new Problem('invalid-request', `${reasons.join('; ')}.`);
}
