/** One change to a document such as people make by mistake. */
import type { Random } from '../kit/random.ts';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
interface Place {
  readonly parent: Json[] | { [key: string]: Json };
  readonly key: string | number;
}

/** Text where other text is meant. Not '' or null, which people write on purpose. */
const WORDS = ['x', 'bad value', '-1', '70000', '08', '10.0.0.0/33', '10.0.0.1', 'fd00::/8', 'TCP', 'world', 'In', '%'];
const OTHER_TYPES: readonly Json[] = [1, 1.5, true, 'word', [], {}, ['x'], [{}], { x: 1 }, -1, 70000];
/** Fields of one place of the language, which people also write at others. */
const FIELDS: readonly [string, Json][] = [
  ['port', '80'],
  ['protocol', 'TCP'],
  ['ports', []],
  ['toPorts', [{ ports: [{ port: '80' }] }]],
  ['icmps', [{ fields: [{ type: 8 }] }]],
  ['fromEndpoints', [{}]],
  ['toEndpoints', [{}]],
  ['fromCIDR', ['10.0.0.0/8']],
  ['toCIDRSet', [{ cidr: '10.0.0.0/8' }]],
  ['matchLabels', { app: 'web' }],
  ['matchExpressions', [{ key: 'app', operator: 'In' }]],
  ['except', ['10.1.0.0/16']],
  ['cidrGroupRef', 'group'],
  ['endPort', 90],
  ['namespace', 'default'],
  ['endpointSelector', {}],
  ['ingress', [{}]],
  ['enableDefaultDeny', { ingress: true }],
];

/** A changed copy; metadata, kind and apiVersion stay. */
export function breakDocument<T>(document: T, random: Random): T {
  const copy = structuredClone(document);
  const root = copy as { [key: string]: Json };
  const { spec, specs } = root;
  const places = placesIn({ ...(spec && { spec }), ...(specs && { specs }) } as { [key: string]: Json });
  const picked = random.pick(places);
  const key = picked.key;
  const parent = key === 'spec' || key === 'specs' ? root : picked.parent;
  const at = parent as { [key: string | number]: Json };
  const value = at[key] as Json;
  switch (random.int(6)) {
    case 0:
      if (Array.isArray(parent)) parent.splice(Number(key), 1);
      else delete parent[key];
      break;
    case 1: {
      // A misspelt field; in a list, an item too many.
      const name = String(key);
      if (Array.isArray(parent)) parent.push(...Array<Json>(41).fill(value));
      else {
        delete parent[key];
        parent[random.pick([`${name}s`, name.slice(0, -1), name.toLowerCase(), `x-${name}`])] = value;
      }
      break;
    }
    case 2:
      at[key] = random.pick(OTHER_TYPES);
      break;
    case 3: {
      const [name, stray] = random.pick(FIELDS);
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) value[name] = stray;
      else if (!Array.isArray(parent)) parent[name] = stray;
      break;
    }
    case 4:
      at[key] = typeof value === 'string' ? random.pick(WORDS) : [];
      break;
    default:
      at[key] = Array.isArray(value) ? {} : [value];
  }
  return copy;
}

function placesIn(parent: Place['parent']): Place[] {
  const keys = Array.isArray(parent) ? [...parent.keys()] : Object.keys(parent);
  return keys.flatMap((key) => {
    const value = (parent as { [key: string | number]: Json })[key];
    const below = typeof value === 'object' && value !== null ? placesIn(value) : [];
    return [{ parent, key }, ...below];
  });
}
