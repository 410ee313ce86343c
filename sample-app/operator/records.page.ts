import type { ListedRecord, ListPage } from 'nestjs-idempotent';
import { type Html, html } from '../web/html.js';
import { type ListDto, STATES } from './operator.dto.js';
import { timeOf, stateOf } from './record.words.js';

/** Records by state, a page of them. */
export function recordsPage(query: ListDto, { records, cursor }: ListPage): Html {
  return html`<h1>Records</h1>
    <p>
      One record is one idempotency key: who owns it, and what duplicates are answered.
      <strong>Uncertain</strong> ones wait for somebody who finds out whether the money left;
      <strong>stuck</strong> ones have lost the process that ran them.
    </p>
    <form method="get" action="/operator" class="card row">
      <label
        >State
        <select name="state">
          ${STATES.map((state) => option(state, query.state || 'all'))}
        </select></label
      >
      <label>Scope <input name="scope" value="${query.scope}" maxlength="1000" /></label>
      <label
        >Older than, minutes
        <input name="olderThanMinutes" inputmode="numeric" pattern="\\d*" value="${query.olderThanMinutes}"
      /></label>
      <button>Show</button>
    </form>
    ${records.length === 0 ? html`<p>None${cursor !== null && ' on this page'}.</p>` : table(records)}
    ${cursor !== null && html`<p><a href="/operator?${nextQuery(query, cursor)}">Next page</a></p>`}
    <form method="post" action="/operator/logout"><button class="quiet">Sign out</button></form>`;
}

function option(state: string, chosen: string): Html {
  return html`<option${state === chosen && ' selected'}>${state}</option>`;
}

function nextQuery(query: ListDto, cursor: string): string {
  const { state = '', scope = '', olderThanMinutes = '' } = query;
  return new URLSearchParams({ state, scope, olderThanMinutes: String(olderThanMinutes), cursor }).toString();
}

function table(records: readonly ListedRecord[]): Html {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Records">
    <table class="list">
      <thead>
        <tr>
          <th scope="col">Key</th>
          <th scope="col">Scope</th>
          <th scope="col">State</th>
          <th scope="col">Attempt</th>
          <th scope="col">Created</th>
        </tr>
      </thead>
      <tbody>
        ${records.map(row)}
      </tbody>
    </table>
  </div>`;
}

function row(record: ListedRecord): Html {
  const { id, key, scope, attempt, createdAt } = record;
  return html`<tr>
    <th scope="row"><a href="/operator/records/${id}">${key}</a></th>
    <td>${scope}</td>
    <td>${stateOf(record)}</td>
    <td>${attempt}</td>
    <td>${timeOf(createdAt)}</td>
  </tr> `;
}
