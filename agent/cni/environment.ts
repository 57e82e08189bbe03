/** The CNI_* variables: one table says which verb needs which, and what each may look like. SPEC.md, "Parameters". */
import { WeirError } from '../errors.ts';

export const VERBS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'] as const;
export type Verb = (typeof VERBS)[number];

export interface Invocation {
  readonly verb: Verb;
  /** '' where the verb does not need it and it was not given; so for the other two. */
  readonly containerId: string;
  readonly interfaceName: string;
  readonly netns: string;
  /** As given; parsed by cni-args.ts where it matters. */
  readonly args: string;
}

interface Variable {
  readonly name: string;
  readonly neededBy: readonly Verb[];
  /** What a value must be, if the given one is not. */
  expected(value: string): string | undefined;
}

const LONGEST_CONTAINER_ID = 200;
const LONGEST_PATH = 4095;
/** Names the kernel has sysctl folders for, or that every namespace has already. */
const RESERVED_INTERFACES = ['.', '..', 'all', 'default', 'lo'];

const VARIABLES: readonly Variable[] = [
  {
    name: 'CNI_CONTAINERID',
    neededBy: ['ADD', 'DEL', 'CHECK'],
    expected: (value) =>
      /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(value) && value.length <= LONGEST_CONTAINER_ID
        ? undefined
        : `must begin with a letter or digit, have only letters, digits, "_", "." and "-", and at most ${LONGEST_CONTAINER_ID} of them`,
  },
  {
    name: 'CNI_NETNS',
    neededBy: ['ADD', 'CHECK'],
    expected: (value) =>
      /^\/\P{Cc}*$/u.test(value) && Buffer.byteLength(value) <= LONGEST_PATH && !value.split('/').includes('..')
        ? undefined
        : 'must be the absolute path of a network namespace, without ".."',
  },
  {
    name: 'CNI_IFNAME',
    neededBy: ['ADD', 'DEL', 'CHECK'],
    // net/core/dev.c, dev_valid_name; "%" would be a template there.
    expected: (value) =>
      /^[!-~]{1,15}$/.test(value) && !/[/:%]/.test(value) && !RESERVED_INTERFACES.includes(value)
        ? undefined
        : 'must be 1 to 15 printable ASCII characters without space, "/", ":" and "%", and no reserved name (all, default, lo)',
  },
  { name: 'CNI_PATH', neededBy: ['GC'], expected: () => undefined },
  { name: 'CNI_ARGS', neededBy: [], expected: () => undefined },
];

/** @throws CNI_BAD_ENVIRONMENT, naming every missing and every invalid variable */
export function parseEnvironment(environment: ReadonlyMap<string, string>): Invocation {
  const command = environment.get('CNI_COMMAND');
  const verb = VERBS.find((each) => each === command);
  if (!verb) throw badEnvironment(`CNI_COMMAND must be one of ${VERBS.join(', ')}`);
  const wrong = VARIABLES.flatMap(({ name, neededBy, expected }) => {
    const value = environment.get(name) ?? '';
    if (value === '') return neededBy.includes(verb) ? [`${name} is missing, which ${verb} needs`] : [];
    const complaint = expected(value);
    return complaint ? [`${name} ${complaint}`] : [];
  });
  if (wrong.length > 0) throw badEnvironment(wrong.join('; '));
  return {
    verb,
    containerId: environment.get('CNI_CONTAINERID') ?? '',
    interfaceName: environment.get('CNI_IFNAME') ?? '',
    netns: environment.get('CNI_NETNS') ?? '',
    args: environment.get('CNI_ARGS') ?? '',
  };
}

function badEnvironment(message: string): WeirError {
  return new WeirError('CNI_BAD_ENVIRONMENT', 'read the CNI_ variables', message);
}
