import type { AuditEntry, StoredRecord, StoredStep } from 'nestjs-idempotent';
import { type Html, html } from '../web/html.js';
import type { AnswerText } from './operator.answer.js';
import { STATE_MEANS, stateOf, timeOf } from './record.words.js';

interface RecordPage {
  readonly id: string;
  readonly record: StoredRecord | null;
  readonly answer: AnswerText | null;
  readonly steps: readonly StoredStep[];
  readonly audit: readonly AuditEntry[];
}

/** One record: what is known of it, and what can be done about it. */
export function recordPage({ id, record, answer, steps, audit }: RecordPage): Html {
  return html`<p><a href="/operator">All records</a></p>
    <h1>${record ? record.key : 'A record that is gone'}</h1>
    ${record ? facts(record) : html`<p>It expired or was forgotten. What was done to it is kept.</p>`}
    ${answer && answerPart(answer)}
    <h2>Steps</h2>
    ${steps.length === 0 ? html`<p>None recorded.</p>` : stepsTable(steps)}
    <h2>Audit</h2>
    ${audit.length === 0 ? html`<p>Nobody has done anything to it by hand.</p>` : auditTable(audit)}
    ${record && acts(id, stateOf(record))}`;
}

function facts(record: StoredRecord): Html {
  const { id, scope, attempt, createdAt, completedAt, expiresAt, leaseRemainingMs, fingerprint } = record;
  const state = stateOf(record);
  const rows: [string, Html | string | number][] = [
    ['State', html`<strong>${state}</strong>. ${STATE_MEANS[state]}`],
    ['Scope', scope],
    ['Attempt', attempt],
    ['Created', timeOf(createdAt)],
    ['Completed', timeOf(completedAt)],
    ['Expires', timeOf(expiresAt)],
    ['Lease', `${leaseRemainingMs} ms left`],
    ['Id', html`<code>${id}</code>`],
    ['Payload', html`<code>${fingerprint}</code>`],
  ];
  return html`<dl class="facts">
    ${rows.map(
      ([name, value]) =>
        html`<dt>${name}</dt>
          <dd>${value}</dd> `,
    )}
  </dl>`;
}

function answerPart({ status, headers, body }: AnswerText): Html {
  return html`<h2>Answer</h2>
    <p>${status === null ? 'A returned value' : html`Status <strong>${status}</strong>`}</p>
    <pre tabindex="0" aria-label="Answer">
${Object.entries(headers).map(([name, value]) => `${name}: ${String(value)}\n`)}
${body}</pre>`;
}

function stepsTable(steps: readonly StoredStep[]): Html {
  return scrollable(
    'Steps',
    ['Name', 'Done', 'Attempt', 'Result'],
    steps.map(({ name, completedAt, attempt, result }) => [
      name,
      timeOf(completedAt),
      attempt,
      html`<code>${result}</code>`,
    ]),
  );
}

function auditTable(audit: readonly AuditEntry[]): Html {
  return scrollable(
    'Audit',
    ['When', 'Who', 'What', 'Why', 'It was'],
    audit.map(({ at, by, act, reason, state, attempt }) => [
      timeOf(at),
      by,
      act === 'free' ? 'freed the key' : 'recorded an answer',
      reason,
      `${state}, attempt ${attempt}`,
    ]),
  );
}

function scrollable(name: string, heads: string[], rows: (Html | string | number)[][]): Html {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${name}">
    <table class="list">
      <thead>
        <tr>
          ${heads.map((head) => html`<th scope="col">${head}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) =>
            html`<tr>
              ${row.map((cell) => html`<td>${cell}</td>`)}
            </tr> `,
        )}
      </tbody>
    </table>
  </div>`;
}

/** Only what the state allows, see docs/operating.md. */
function acts(id: string, state: string): Html | false {
  const canRelease = state === 'running' || state === 'stuck' || state === 'uncertain';
  const canResolve = state === 'stuck' || state === 'uncertain' || state === 'free';
  if (!canRelease && !canResolve) return false;
  return html`<h2>Act</h2>
    <div class="columns">${canResolve && resolveForm(id, state)} ${canRelease && releaseForm(id)}</div>`;
}

function resolveForm(id: string, state: string): Html {
  return html`<form method="post" action="/operator/records/${id}/resolve" class="card">
    <h3>Resolve</h3>
    <fieldset>
      <legend>What you found out</legend>
      ${
        state !== 'free' &&
        html`<label class="choice"
          ><input type="radio" name="outcome" value="retry" required /> It was not done. The next call runs;
          recorded steps are kept.</label
        >`
      }
      <label class="choice"
        ><input type="radio" name="outcome" value="answer" required /> It was done. Duplicates of an HTTP
        request get this answer.</label
      >
      <label class="choice"
        ><input type="radio" name="outcome" value="value" required /> It was done. Duplicates of a message or
        a method call get this value.</label
      >
    </fieldset>
    <label
      >Status of the HTTP answer <input name="status" inputmode="numeric" pattern="[2-5]\\d\\d" value="201"
    /></label>
    <label>Body or value, JSON <textarea name="body" rows="3" spellcheck="false"></textarea></label>
    ${whoAndWhy()}
    <button>Resolve</button>
  </form>`;
}

function releaseForm(id: string): Html {
  return html`<form method="post" action="/operator/records/${id}/release" class="card">
    <h3>Release</h3>
    <p>
      Takes the key from whoever has it. What that one has done outside stays done: if it was the work itself,
      the next call does it once more.
    </p>
    ${whoAndWhy()}
    <button>Release</button>
  </form>`;
}

function whoAndWhy(): Html {
  return html`<label>Who <input name="by" required maxlength="255" autocomplete="name" /></label>
    <label>Why <input name="reason" required maxlength="2000" autocomplete="off" /></label>`;
}
