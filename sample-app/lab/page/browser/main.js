import { getMatrix, listen, post } from './api.js';
import { cellDialog } from './cell-dialog.js';
import { byId, h } from './dom.js';
import { experimentOf } from './experiment.js';
import { matrixOf } from './matrix.js';
import { missingOf } from './missing.js';
import { Model } from './model.js';
import { progressOf } from './progress.js';
import { storyOf } from './story.js';

const notice = h('p', { class: 'alert', role: 'alert' });
byId('progress').before(notice);

/** @param {unknown} error */
function tell(error) {
  notice.textContent = error instanceof Error ? error.message : String(error);
}

/** @param {object} wanted */
function run(wanted) {
  notice.textContent = '';
  post('/lab/run', wanted).catch(tell);
}

async function begin() {
  const model = new Model(await getMatrix());
  const dialog = cellDialog(model, run);
  byId('story').replaceChildren(...storyOf(model, run));
  byId('missing').replaceChildren(...missingOf(model));
  byId('progress').replaceChildren(...progressOf(model, run));
  byId('matrix').replaceChildren(matrixOf(model, { open: dialog.open, run }));
  byId('experiment').replaceChildren(...experimentOf(model));
  byId('scenarios').replaceChildren(
    ...model.scenarios.flatMap(({ name, story }) => [h('dt', {}, name), h('dd', {}, story)]),
  );
  byId('schemes').replaceChildren(
    ...model.schemes.flatMap(({ number, name, kind, claim }) => [
      h('dt', {}, `${number}. ${name}`, h('span', { class: `kind ${kind}` }, kind)),
      h('dd', {}, claim),
    ]),
  );
  listen(
    (event) => model.apply(event),
    (isConnected) => (notice.textContent = isConnected ? '' : 'The app does not answer. Trying again …'),
  );
  dialog.openAddressed();
}

begin().catch(tell);
