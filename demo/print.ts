/** The demo's words on the terminal; colours only where somebody looks. */
const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
const paint = (code: number, text: string): string => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);

export const bold = (text: string): string => paint(1, text);
export const line = (text: string): void => console.log(text);
export const heading = (text: string): void => console.log(`\n${bold(`== ${text}`)}`);
export const mark = (right: boolean): string => (right ? paint(32, ' ✓ ') : paint(31, ' ✗ '));
export const verdictWord = (passed: boolean): string =>
  (passed ? paint(32, 'allowed') : paint(33, 'denied ')).padEnd(8);
export const ok = (text: string): void => console.log(`\n${paint(32, 'RIGHT')}: ${text}`);
export const wrong = (text: string): void => console.log(`\n${paint(31, 'WRONG')}: ${text}`);
