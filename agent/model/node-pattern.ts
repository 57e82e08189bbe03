/**
 * Hubble's patterns of node names: "node", "cluster/" or "cluster/node", each with "*" for any letters. White space around a
 * part and a dot at its end mean nothing.
 */

/** Of one dot at the end, the second is no name's. */
const WORD = /^([-_.0-9a-z*]*[-_0-9a-z*])?$/;

/** Whether the node is meant; undefined for what is no pattern. Linear in both lengths per "*", whatever the pattern. */
export function nodePatternMatches(pattern: string, cluster: string, node: string): boolean | undefined {
  const written = pattern.toLowerCase().split('/');
  const parts = written.map((part) => part.trim().replace(/\.$/, ''));
  const isNothing = (part: string, i: number) => part === '' && (written[i] !== '' || written.length === 1);
  if (parts.length > 2 || parts.some(isNothing) || !parts.every((part) => WORD.test(part))) return undefined;
  const [ofCluster = '', ofNode = ''] = parts.length === 2 ? parts : ['', parts[0]];
  return (ofCluster === '' || globMatches(ofCluster, cluster)) && (ofNode === '' || globMatches(ofNode, node));
}

/** No regular expression: many stars would let a caller keep one busy for ever. */
function globMatches(glob: string, text: string): boolean {
  const [first = '', ...rest] = glob.split('*');
  if (rest.length === 0) return glob === text;
  const last = rest.pop() as string;
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
  let at = first.length;
  const end = text.length - last.length;
  for (const part of rest) {
    const found = text.slice(0, end).indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return true;
}
