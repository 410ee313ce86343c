import { type Html, html } from '../../web/html.js';

/** What can be read before anything is played. The rest is put in by `browser/main.js`. */
export function labPage(): Html {
  return html`<h1>Money must leave once</h1>
    ${introduction()}
    <noscript><p class="alert">The lab itself needs JavaScript.</p></noscript>
    <div id="story"></div>
    <h2 id="matrix-title">Every scheme against every mishap</h2>
    <p>
      Each row is one way people make sure that a refund is paid once. Each column is one thing that goes
      wrong. A cell is played for real: three payment services, each a process of its own, a queue, the
      servers the scheme needs, and what is killed is killed. Then the rows of the bank’s ledger are counted.
      Nobody else is asked.
    </p>
    <p>
      Schemes marked <em>exhibit</em> are written as people write them and are here to be seen failing; never
      copy them. Those marked <em>shipped</em> are this library’s. Where luck would decide, processes are held
      at the dangerous moment, so that a failure shows every time. Open a cell to see why.
    </p>
    ${legend()}
    <div id="missing"></div>
    <div id="progress" class="progress"></div>
    <p id="announcer" class="sr" role="status"></p>
    <div id="matrix"><p>Loading …</p></div>
    <h2 id="experiment-title">An experiment of your own</h2>
    <p>
      Pick a scheme, send as many duplicates as you like, make the bank slow, kill a payment service while it
      is at work, and watch the ledger.
    </p>
    <div id="experiment"></div>
    <h2>The mishaps</h2>
    <dl id="scenarios" class="words"></dl>
    <h2>The schemes</h2>
    <dl id="schemes" class="words"></dl>`;
}

export function labOffPage(): Html {
  return html`<h1>Money must leave once</h1>
    ${introduction()}
    <p>
      <strong>The lab is switched off here</strong> (<code>LAB=off</code>). Without that, this page plays
      every known scheme against everything that can go wrong; <code>npm run lab</code> does the same in a
      terminal.
    </p>`;
}

function introduction(): Html {
  return html`<p class="lead">
      A customer asks for a refund once. The request arrives again anyway: a browser submits twice, a gateway
      retries, a queue brings its message back for half an hour. However often it arrives, the bank must pay
      once.
    </p>
    <h2>Why a lock is not idempotency</h2>
    <div class="columns">
      <section class="card">
        <h3>A lock answers: is somebody doing this <em>right now</em>?</h3>
        <p>
          It keeps two apart while they are at work. Then it is given back, or its time runs out, or its
          server forgets it. Whoever comes after that finds the door open, and pays again.
        </p>
      </section>
      <section class="card">
        <h3>A stored result answers: has this <em>been done</em>?</h3>
        <p>
          It is still there tomorrow. Whoever comes late finds it, gets the same answer as the first, and pays
          nothing. It decides even without a lock; the lock only spares the crowd the work.
        </p>
      </section>
    </div>`;
}

function legend(): Html {
  return html`<ul class="legend">
    <li><span class="mark holds">pays once</span> one payout, as it should be</li>
    <li><span class="mark pays-twice">PAYS TWICE</span> two payouts or more for one order</li>
    <li><span class="mark never-pays">never pays</span> locked for ever, or dropped as a duplicate</li>
    <li>
      <span class="mark wrong">✗ not as expected</span> the ledger does not say what was foretold: a fault of
      ours
    </li>
  </ul>`;
}
