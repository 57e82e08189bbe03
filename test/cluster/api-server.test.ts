/** The fixture itself: what others build on has to hold. */
import { existsSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { startApiServer } from './api-server.ts';

const test = privileged(suite('api server fixture'), 'api-server');
const CONFIG_MAP = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'one', namespace: 'default' } };
const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps';

test('answers, keeps its objects over a restart, forgets old versions when told to, and leaves nothing', async () => {
  const api = await startApiServer('fixture');
  try {
    const created = await api.request('POST', CONFIG_MAPS, CONFIG_MAP);
    assert.is(created.status, 201);
    const old: string = created.body.metadata.resourceVersion;
    assert.is((await api.kubectl(['create', 'configmap', 'two'])).code, 0);
    await api.request('DELETE', `${CONFIG_MAPS}/two`);
    const { url } = api;
    await api.compact();
    await api.down();
    const refused = await api.request('GET', CONFIG_MAPS).then(
      () => 'answered',
      (error: NodeJS.ErrnoException) => error.code,
    );
    assert.is(refused, 'ECONNREFUSED');
    await api.up();
    assert.is(api.url, url);
    assert.is((await api.request('GET', `${CONFIG_MAPS}/one`)).status, 200);
    const watch = await api.request('GET', `${CONFIG_MAPS}?watch=1&resourceVersion=${old}&timeoutSeconds=1`);
    assert.match(JSON.stringify(watch.body), '"code":410');
  } finally {
    api.stop();
  }
  assert.not.ok(existsSync(api.folder));
});

test('what kubectl refuses is an error with its words', async () => {
  await using api = await startApiServer('fixture');
  const error = await api.apply([{ ...CONFIG_MAP, dta: {} }]).catch((thrown: Error) => thrown.message);
  assert.match(error ?? '', '.dta: field not declared in schema');
});

test.run();
