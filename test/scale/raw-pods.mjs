/**
 * Lists all Pods in pages, leaves their managedFields away and keeps the rest: the least that a client that watches all of
 * them holds. Says how many bytes came, then waits to be measured.
 *
 *     node raw-pods.mjs URL CA_FILE        the bearer token is in TOKEN
 */
import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:https';

const [url = '', caFile = ''] = process.argv.slice(2);
const agent = new Agent({ ca: readFileSync(caFile), keepAlive: true });
const headers = { Authorization: `Bearer ${process.env.TOKEN}` };
const pods = [];
let bytes = 0;

const page = (next) =>
  new Promise((resolve, reject) => {
    get(`${url}/api/v1/pods?limit=250&continue=${next}`, { agent, headers }, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('end', () => resolve(Buffer.concat(chunks)));
    }).on('error', reject);
  });

let next = '';
do {
  const text = await page(next);
  bytes += text.length;
  const list = JSON.parse(text.toString());
  for (const pod of list.items) {
    delete pod.metadata.managedFields;
    pods.push(pod);
  }
  next = list.metadata.continue ?? '';
} while (next !== '');
console.log(JSON.stringify({ pods: pods.length, bytes }));
setInterval(() => {}, 1e9);
