// Shifts and days as the clock on the wall has them: from and to in milliseconds since 1970.

export const SHIFTS = [
  ["early", 6, 14],
  ["late", 14, 22],
  ["night", 22, 30],
];

/** The newest shift that has begun, with its hours as the clock on the wall has them. */
export function shift(startHour, endHour, now = new Date()) {
  const start = new Date(now);
  start.setHours(startHour, 0, 0, 0);
  if (start > now) start.setDate(start.getDate() - 1);
  const end = new Date(start);
  end.setHours(endHour, 0, 0, 0);
  return [start.getTime(), end.getTime()];
}

/** A day, so many days back. */
export function day(back) {
  const start = new Date();
  start.setHours(0, 0, 0, 0);
  start.setDate(start.getDate() - back);
  const end = new Date(start);
  end.setDate(end.getDate() + 1);
  return [start.getTime(), end.getTime()];
}

/** Hours and minutes have two digits. */
export const two = (n) => String(n).padStart(2, "0");

/** Milliseconds as `datetime-local` takes them. */
export function local(ms) {
  const at = new Date(ms);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
}
