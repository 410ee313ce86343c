import { type Html, html } from '../web/html.js';

export function loginPage({ hasFailed }: { hasFailed: boolean }): Html {
  return html`<h1>Operators only</h1>
    ${hasFailed && html`<p role="alert" class="alert">That is not the token.</p>`}
    <form method="post" action="/operator/login" class="card">
      <label>Token <input type="password" name="token" required autocomplete="current-password" /></label>
      <button>Sign in</button>
    </form>
    <p>
      It is what <code>OPERATOR_TOKEN</code> was when the app was started. Programs send it with each request,
      as <code>Authorization: Bearer …</code>, and get JSON.
    </p>`;
}
