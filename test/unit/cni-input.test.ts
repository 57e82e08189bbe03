/** What weir-cni may hand in: frames, variables, CNI_ARGS and configurations, right and hostile, as tables. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { answer } from '../../agent/cni/answer.ts';
import { parseCniArgs } from '../../agent/cni/cni-args.ts';
import { parseEnvironment, type Verb } from '../../agent/cni/environment.ts';
import { encodeReply, FRAME_MAX_BYTES, parseFrame, STDIN_MAX_BYTES } from '../../agent/cni/frame.ts';
import { decodeConfig, parseNetconf, validAttachments } from '../../agent/cni/netconf.ts';
import type { CniParts } from '../../agent/cni/request.ts';
import { acceptVersion } from '../../agent/cni/version.ts';
import { type ErrorCode, WeirError } from '../../agent/errors.ts';
import { suite } from '../kit/suite.ts';

function refused(body: () => unknown, code: ErrorCode, text: RegExp, what = ''): void {
  try {
    body();
  } catch (error) {
    assert.instance(error, WeirError, `${what}: ${error}`);
    assert.is((error as WeirError).code, code, `${what}: ${(error as Error).message}`);
    assert.match((error as Error).message, text, what);
    return;
  }
  throw new Error(`${what} was accepted`);
}
const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

const frames = suite('cni: frames');
frames('variables, an empty string, stdin as it came', () => {
  const { environment, stdin } = parseFrame(bytes('CNI_COMMAND=ADD\0CNI_ARGS=A=B;C=\0CNI_PATH=\0\0{"a":"\0"}'));
  assert.equal(
    [...environment],
    [
      ['CNI_COMMAND', 'ADD'],
      ['CNI_ARGS', 'A=B;C='],
      ['CNI_PATH', ''],
    ],
  );
  assert.is(Buffer.from(stdin).toString('latin1'), '{"a":"\0"}');
  assert.is(parseFrame(bytes('\0')).environment.size, 0);
});
const BAD_FRAMES: readonly [what: string, frame: Buffer, code: ErrorCode, text: RegExp][] = [
  ['empty', bytes(''), 'CNI_DECODE', /do not end/],
  ['no end', bytes('CNI_COMMAND=ADD\0'), 'CNI_DECODE', /do not end/],
  ['another variable', bytes('PATH=/bin\0\0'), 'CNI_DECODE', /byte 0/],
  ['no value', bytes('CNI_COMMAND\0\0'), 'CNI_DECODE', /byte 0/],
  ['lower case', bytes('CNI_A=1\0CNI_b=2\0\0'), 'CNI_DECODE', /byte 8/],
  ['not UTF-8', bytes('CNI_ARGS=\xff\xfe\0\0'), 'CNI_DECODE', /UTF-8/],
  ['twice', bytes('CNI_ARGS=a\0CNI_ARGS=b\0\0'), 'CNI_DECODE', /CNI_ARGS stands in it twice/],
  ['many', bytes(`${Array.from({ length: 33 }, (_, i) => `CNI_${i}=\0`).join('')}\0`), 'CNI_DECODE', /more than 32/],
  ['a long variable', bytes(`CNI_ARGS=${'x'.repeat(1 << 16)}\0\0`), 'CNI_DECODE', /exceed 65536/],
  ['too large', Buffer.alloc(FRAME_MAX_BYTES + 1), 'TOO_LARGE', /at most/],
];
for (const [what, frame, code, text] of BAD_FRAMES) frames(what, () => refused(() => parseFrame(frame), code, text));
frames('a reply is one exit byte and text that ends in one newline', () => {
  assert.equal(Buffer.from(encodeReply({ exit: 1, text: '{}' })), bytes('\x01{}\n'));
  assert.equal(Buffer.from(encodeReply({ exit: 0, text: '{}\n' })), bytes('\0{}\n'));
  assert.equal(Buffer.from(encodeReply({ exit: 0, text: '' })), bytes('\0'));
});
frames.run();

const RIGHT = { CNI_CONTAINERID: 'c0ffee', CNI_NETNS: '/run/netns/a', CNI_IFNAME: 'eth0', CNI_PATH: '/opt/cni/bin' };
const environment = (fields: object): Map<string, string> => new Map(Object.entries(fields));

const variables = suite('cni: variables');
const NEEDED: Record<Verb, readonly string[]> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME'],
  GC: ['CNI_PATH'],
  STATUS: [],
  VERSION: [],
};
for (const [verb, needed] of Object.entries(NEEDED)) {
  variables(`${verb} needs ${needed.join(', ') || 'nothing'}, and names all that is missing`, () => {
    const given = environment({
      CNI_COMMAND: verb,
      ...Object.fromEntries(needed.map((name) => [name, RIGHT[name as 'CNI_PATH']])),
    });
    assert.is(parseEnvironment(given).verb, verb);
    if (needed.length === 0) return;
    const all = new RegExp(needed.map((name) => `${name} is missing, which ${verb} needs`).join('; '));
    refused(() => parseEnvironment(environment({ CNI_COMMAND: verb })), 'CNI_BAD_ENVIRONMENT', all);
    const empty = Object.fromEntries(needed.map((name) => [name, '']));
    refused(() => parseEnvironment(environment({ CNI_COMMAND: verb, ...empty })), 'CNI_BAD_ENVIRONMENT', all);
  });
}
variables('CNI_COMMAND missing or unknown', () => {
  for (const verb of [{}, { CNI_COMMAND: '' }, { CNI_COMMAND: 'add' }, { CNI_COMMAND: '__proto__' }]) {
    refused(() => parseEnvironment(environment(verb)), 'CNI_BAD_ENVIRONMENT', /CNI_COMMAND must be one of ADD/);
  }
});
const BAD_VALUES: Readonly<Record<string, readonly string[]>> = {
  CNI_CONTAINERID: ['..', '../../etc', 'a/b', '.a', '-a', 'a b', 'a\n', 'ä', 'a\u0000', 'x'.repeat(201)],
  CNI_IFNAME: ['..', '.', 'a/b', '../x', 'a b', 'a\tb', 'a:b', 'eth%d', 'ä', 'lo', 'all', 'default', 'x'.repeat(16)],
  CNI_NETNS: ['run/netns/a', '/run/../etc', '/a\nb', `/${'x'.repeat(4096)}`, '..'],
};
for (const [name, values] of Object.entries(BAD_VALUES)) {
  for (const value of values) {
    variables(`${name}=${JSON.stringify(value.slice(0, 20))} is refused by name`, () => {
      const given = environment({ CNI_COMMAND: 'ADD', ...RIGHT, [name]: value });
      refused(() => parseEnvironment(given), 'CNI_BAD_ENVIRONMENT', new RegExp(`^${name} must`));
    });
  }
}
variables('what runtimes use is accepted', () => {
  for (const name of ['eth0', 'net1', 'x'.repeat(15), 'a.b-c_d', '@!']) {
    assert.is(parseEnvironment(environment({ CNI_COMMAND: 'ADD', ...RIGHT, CNI_IFNAME: name })).interfaceName, name);
  }
  for (const netns of ['/proc/123/ns/net', '/var/run/netns/cni-8a9c…']) {
    assert.is(parseEnvironment(environment({ CNI_COMMAND: 'ADD', ...RIGHT, CNI_NETNS: netns })).netns, netns);
  }
});
variables('a wrong namespace does not matter to DEL only when it is not given', () => {
  assert.is(parseEnvironment(environment({ CNI_COMMAND: 'DEL', ...RIGHT, CNI_NETNS: '' })).netns, '');
});
variables.run();

const args = suite('cni: CNI_ARGS');
args('the pod, as CRI runtimes tell it', () => {
  const text =
    'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c0ffee;K8S_POD_UID=12-ab';
  assert.equal(parseCniArgs(text), { namespace: 'default', name: 'web-0', uid: '12-ab' });
  assert.equal(parseCniArgs('K8S_POD_NAMESPACE=d;K8S_POD_NAME=a;'), { namespace: 'd', name: 'a', uid: '' });
});
args('no pod', () => {
  for (const text of ['', ';', 'IgnoreUnknown=true', 'IgnoreUnknown=1;FOO=bar'])
    assert.is(parseCniArgs(text), undefined);
});
const BAD_ARGS: readonly [text: string, says: RegExp][] = [
  ['FOO=bar', /FOO: not known, and IgnoreUnknown=1 is not given/],
  ['IgnoreUnknown=0;FOO=bar', /FOO/],
  ['FOO', /"FOO" is not KEY=value/],
  ['=x', /"=x" is not KEY=value/],
  ['K8S_POD_NAME=a', /K8S_POD_NAMESPACE must/],
  ['K8S_POD_NAMESPACE=a', /K8S_POD_NAME must/],
  ['K8S_POD_NAMESPACE=../x;K8S_POD_NAME=a', /K8S_POD_NAMESPACE must/],
  ['K8S_POD_NAMESPACE=d;K8S_POD_NAME=A_b', /K8S_POD_NAME must/],
  ['K8S_POD_NAMESPACE=d;K8S_POD_NAME=a;K8S_POD_UID=\n', /K8S_POD_UID must/],
  ['K8S_POD_NAMESPACE=d;K8S_POD_NAME=a;K8S_POD_NAME=b', /K8S_POD_NAME is given twice/],
];
for (const [text, says] of BAD_ARGS)
  args(JSON.stringify(text), () => refused(() => parseCniArgs(text), 'CNI_BAD_ENVIRONMENT', says));
args.run();

const config = (fields: object) => ({ cniVersion: '1.1.0', name: 'weir', type: 'weir-cni', ...fields });
const stdin = suite('cni: configuration');
const UNDECODABLE: readonly [what: string, bytes: Buffer, says: RegExp][] = [
  ['nothing', bytes(''), /cannot be read/],
  ['not JSON', bytes('hello'), /cannot be read/],
  ['two values', bytes('{}{}'), /cannot be read/],
  ['cut short', bytes('{"name":"we'), /cannot be read/],
  ['a list', bytes('[]'), /not a JSON object/],
  ['null', bytes('null'), /not a JSON object/],
  ['a NUL', bytes('{"name":"a\0b"}'), /cannot be read/],
  ['a NUL at the end', bytes('{}\0'), /cannot be read/],
  ['a byte order mark', bytes('\xef\xbb\xbf{}'), /cannot be read/],
  ['invalid UTF-8', bytes('{"name":"\xc3\x28"}'), /not UTF-8/],
  ['deep lists', bytes('['.repeat(STDIN_MAX_BYTES)), /deeper than 32/],
  ['deep objects', bytes(`${'{"a":'.repeat(200_000)}1${'}'.repeat(200_000)}`), /deeper than 32/],
  [
    'deep behind a string of brackets',
    bytes(`{"x":"]]]]\\"]]]]","a":${'['.repeat(40)}${']'.repeat(40)}}`),
    /deeper than 32/,
  ],
];
for (const [what, input, says] of UNDECODABLE)
  stdin(what, () => refused(() => decodeConfig(input), 'CNI_DECODE', says));
stdin('brackets in strings are not nesting', () => {
  assert.equal(decodeConfig(bytes(`{"a":"${'['.repeat(100)}"}`)), { a: '['.repeat(100) });
});

const UNSUPPORTED: readonly [fields: object, says: RegExp][] = [
  [{ bridge: 'cni0' }, /^bridge = "cni0": no field of this plugin/],
  [{ ipam: { type: 'host-local' } }, /^ipam = .*not by another plugin/],
  [{ ipMasq: true }, /^ipMasq = true/],
  [{ runtimeConfig: { portMappings: [{ hostPort: 80 }] } }, /portMappings: not supported/],
  [{ runtimeConfig: { bandwidth: { ingressRate: 1 }, ips: ['10.0.0.9/24'] } }, /bandwidth, ips: not supported/],
  [{ runtimeConfig: 'x' }, /must be an object/],
  [JSON.parse('{"__proto__": 1}'), /^__proto__ = 1/],
  [{ constructor: 1 }, /^constructor = 1/],
  [{ ['k'.repeat(10_000)]: 'v'.repeat(10_000) }, /^k{80} = "v{199}: no field/],
];
for (const [fields, says] of UNSUPPORTED) {
  stdin(`unsupported: ${JSON.stringify(fields).slice(0, 60)}`, () =>
    refused(
      () => parseNetconf(Object.assign(Object.create(null), config({}), { ...fields })),
      'CNI_UNSUPPORTED_FIELD',
      says,
    ),
  );
}
const INVALID: readonly [fields: object, says: RegExp][] = [
  [{ name: undefined }, /^name:/],
  [{ name: '../x' }, /^name:/],
  [{ name: 'a\0' }, /^name:/],
  [{ type: 1 }, /^type:/],
  [{ mtu: 100 }, /^mtu: expected 0 .* or 1280 to 65535 bytes/],
  [{ mtu: '1500' }, /^mtu:/],
  [{ mtu: 1500.5 }, /^mtu:/],
  [{ dns: [] }, /^dns:/],
  [{ dns: { nameservers: '1.1.1.1' } }, /^dns:/],
  [{ dns: { ttl: 1 } }, /^dns:/],
  [{ prevResult: 'x' }, /^prevResult:/],
];
for (const [fields, says] of INVALID) {
  stdin(`invalid: ${JSON.stringify(fields)}`, () =>
    refused(() => parseNetconf(config(fields)), 'CNI_INVALID_CONFIG', says),
  );
}
stdin('what asks for nothing is no reason to refuse', () => {
  const empty = {
    ipam: {},
    ipMasq: false,
    runtimeConfig: {
      portMappings: [],
      ips: null,
      mac: '',
      bandwidth: { ingressRate: 0, egressRate: 0 },
      dns: { servers: [] },
    },
    capabilities: { portMappings: true },
  };
  const { name, mtu, dns, prevResult } = parseNetconf(
    config({ ...empty, args: { a: 1 }, 'cni.dev/x': 1, prevResult: null }),
  );
  assert.equal([name, mtu, dns, prevResult], ['weir', 0, {}, undefined]);
  assert.is(parseNetconf(config({ mtu: 9000 })).mtu, 9000);
});
stdin('GC: no list is not an empty list, which libcni writes as null', () => {
  const right = { containerID: 'a', ifname: 'eth0' };
  assert.equal(validAttachments({ 'cni.dev/valid-attachments': [right] }), [
    { containerId: 'a', interfaceName: 'eth0' },
  ]);
  assert.is(validAttachments({}), undefined);
  assert.equal(validAttachments({ 'cni.dev/valid-attachments': null }), []);
  for (const list of [{}, '', [1], [{ containerID: 'a' }], [{ ...right, ifname: 1 }]]) {
    refused(() => validAttachments({ 'cni.dev/valid-attachments': list }), 'CNI_INVALID_CONFIG', /valid-attachments/);
  }
});
stdin('versions: known ones, and not before the verb was there', () => {
  assert.is(acceptVersion('0.3.1', 'ADD'), '0.3.1');
  for (const version of [undefined, '', '0.2.0', '1.2.0', 1.1, ['1.1.0'], 'x'.repeat(1e6)]) {
    refused(
      () => acceptVersion(version, 'ADD'),
      'CNI_INCOMPATIBLE_VERSION',
      /^.{0,80}; supported are 0.3.1, 0.4.0, 1.0.0, 1.1.0$/,
    );
  }
  refused(() => acceptVersion('0.3.1', 'CHECK'), 'CNI_INCOMPATIBLE_VERSION', /CHECK needs cniVersion 0.4.0/);
  refused(() => acceptVersion('1.0.0', 'GC'), 'CNI_INCOMPATIBLE_VERSION', /GC needs/);
  refused(() => acceptVersion('1.0.0', 'STATUS'), 'CNI_INCOMPATIBLE_VERSION', /STATUS needs/);
});
stdin.run();

const fuzz = suite('cni: any bytes');
const unreachable = (): never => {
  throw new Error('reached an endpoint');
};
const PARTS: CniParts = {
  endpoints: { add: unreachable, del: unreachable, check: unreachable, gc: unreachable, find: unreachable },
  queue: { replay: async () => 0 },
  readiness: () => ({ state: 'starting', reason: 'test' }),
};
fuzz('always answer one error object, never with an internal error', async () => {
  const pieces = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.constantFrom(
      'CNI_COMMAND=ADD\0',
      'CNI_IFNAME=',
      'CNI_NETNS=/',
      '\0',
      '\0\0',
      '{',
      '}',
      '"cniVersion":"1.1.0"',
      '[[',
      '\\',
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(pieces, { maxLength: 12 }), async (parts) => {
      const reply = await answer(Buffer.from(parts.join('')), PARTS, (_, error) =>
        assert.is.not(error.code, 'INTERNAL'),
      );
      if (reply.exit === 0) return; // VERSION, made by chance
      const { cniVersion, code, msg } = JSON.parse(reply.text);
      assert.is(cniVersion, '1.1.0');
      assert.ok(code > 0 && msg.length > 0 && reply.text.length < 2000);
    }),
    { numRuns: 3000 },
  );
});
fuzz.run();
