/** Operations in words, for the log. Many routes are one sentence. Pure. */
import type { Operation } from './plan.ts';

/** From so many on, routes are counted instead of named. */
const MANY = 8;

export function describe(operations: readonly Operation[]): string[] {
  const isRoute = ({ kind }: Operation): boolean => kind === 'route.set' || kind === 'route.delete';
  const routes = operations.filter(isRoute);
  if (routes.length < MANY) return operations.map(sentence);
  const count = (kind: Operation['kind']): number => routes.filter((operation) => operation.kind === kind).length;
  return [
    ...operations.filter((operation) => !isRoute(operation)).map(sentence),
    `routes: ${count('route.set')} set, ${count('route.delete')} removed`,
  ];
}

function sentence(operation: Operation): string {
  switch (operation.kind) {
    case 'device.create':
      return `device ${operation.device.name} made`;
    case 'device.set':
      return `device ${operation.name} set to ${words(operation.set)}`;
    case 'device.delete':
      return `device ${operation.name} removed`;
    case 'sysctl.set':
      return `${operation.key} set to ${operation.value}`;
    case 'address.add':
      return `address ${operation.address} added to ${operation.device}`;
    case 'address.delete':
      return `address ${operation.address} removed from ${operation.device}`;
    case 'route.set': {
      const { type, dst, gateway, device } = operation.route;
      const way =
        type === 'blackhole' ? 'to nowhere' : `by ${gateway === undefined ? device : `${gateway} on ${device}`}`;
      return `route ${dst} set ${way}`;
    }
    case 'route.delete':
      return `route ${operation.route.dst} removed`;
    case 'rules.load':
      return 'nftables rules loaded';
    case 'rules.delete':
      return 'nftables rules removed';
  }
}

const words = (set: object): string =>
  Object.entries(set)
    .map(([name, value]) => (typeof value === 'boolean' ? `${name} ${value ? 'on' : 'off'}` : `${name} ${value}`))
    .join(', ');
