/** Records of another size are told as lost, each once, with the batch behind them. */
import * as assert from 'uvu/assert';
import { countUnreadable } from '../../agent/datapath/unreadable-events.ts';
import { suite } from '../kit/suite.ts';

const test = suite('datapath: events of another layout');

test('each is lost once, besides what the queue lost', () => {
  let unreadable = 3;
  const lost: number[] = [];
  const listener = countUnreadable(
    (_, count, dropped) => void lost.push(dropped * 100 + count),
    () => unreadable,
  );
  const none = new Uint8Array();
  listener(none, 1, 0);
  listener(none, 2, 5);
  unreadable = 4;
  listener(none, 3, 1);
  listener(none, 4, 0);
  assert.equal(lost, [301, 502, 203, 4]);
});

test.run();
