/**
 * Which identity numbers are handed out next. A ticket is a number that only grows: the WeirIdentityRange holds the next
 * one, and who moves it on by compare-and-swap has the tickets passed over. Ticket 256 is number 256, ticket 65535 number
 * 65535, ticket 65536 number 256 again. So a number is reused only when the whole range has been, as in identity/.
 */
import type { NumberRange } from '../identity/allocate.ts';
import type { IdentityNumber } from '../model/identity.ts';

export type Ticket = number;

export function sizeOf(range: NumberRange): number {
  return range.last - range.first + 1;
}

export function numberOf(ticket: Ticket, range: NumberRange): IdentityNumber {
  return range.first + ((ticket - range.first) % sizeOf(range));
}

/** False when the number of the ticket may have been handed out once more since; also when `next` went back, which only a person can do. */
export function isCurrent(ticket: Ticket, next: Ticket, range: NumberRange): boolean {
  return ticket < next && next <= ticket + sizeOf(range);
}

/** True while each number was handed out at most once, so that none of these can be in use. */
export function isFirstLap(ticket: Ticket, range: NumberRange): boolean {
  return ticket <= range.last;
}

/**
 * The next tickets whose numbers are not taken, as far as is known, and the `next` that leaves them behind. Less than
 * `count`, or none, when a whole lap has no more.
 */
export function chooseTickets(
  next: Ticket,
  count: number,
  isTaken: (number: IdentityNumber) => boolean,
  range: NumberRange,
): { readonly tickets: Ticket[]; readonly next: Ticket } {
  const tickets: Ticket[] = [];
  const end = next + sizeOf(range);
  let ticket = next;
  for (; ticket < end && tickets.length < count; ticket++) {
    if (isFirstLap(ticket, range) || !isTaken(numberOf(ticket, range))) tickets.push(ticket);
  }
  return { tickets, next: ticket };
}
