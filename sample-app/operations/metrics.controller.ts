import { Controller, Get, Header } from '@nestjs/common';
import { ApiOperation, ApiProduces, ApiTags } from '@nestjs/swagger';
import { type EngineCounters, IdempotencyService } from 'nestjs-idempotent';

const HELP: Record<keyof EngineCounters, string> = {
  claims: 'Calls that became the owner of their key and ran',
  replays: 'Duplicates answered with the recorded answer',
  conflicts: 'Duplicates refused because the first was still running',
  mismatches: 'Calls refused because their key was used with another payload',
  lostLeases: 'Owners that were superseded before they could record an answer',
  uncertain: 'Records that became uncertain',
  reconciled: 'Uncertain records that a reconcile hook settled',
  completions: 'Abandoned calls that were finished without their callers',
  givenUp: 'Abandoned calls that were left unfinished after all attempts',
  unstored: 'Answers that went out although they could not be stored',
  unavailable: 'Calls refused because lock or store was unavailable',
  unprotected: 'Calls run without protection',
};

@ApiTags('operations')
@Controller('metrics')
export class MetricsController {
  constructor(private readonly idempotency: IdempotencyService) {}

  @Get()
  @ApiOperation({ summary: 'What this process has done since it started, as text for Prometheus' })
  @Header('Content-Type', 'text/plain; version=0.0.4; charset=utf-8')
  @ApiProduces('text/plain')
  metrics(): string {
    const { counters, running } = this.idempotency;
    const names = Object.keys(HELP) as (keyof EngineCounters)[];
    const counts = names.map((name) =>
      metric(`${snakeCase(name)}_total`, 'counter', HELP[name], counters[name]),
    );
    return [...counts, metric('running', 'gauge', 'Calls that own their key at the moment', running)].join(
      '',
    );
  }
}

function metric(name: string, type: 'counter' | 'gauge', help: string, value: number): string {
  const fullName = `idempotency_${name}`;
  return `# HELP ${fullName} ${help}\n# TYPE ${fullName} ${type}\n${fullName} ${value}\n`;
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
