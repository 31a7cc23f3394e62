// @ts-check
// Jobs that this browser has made for the looks on one's own picture (`own.js`). They are known by their ids alone, so that no dream
// of anybody is taken for one. Other tabs know them, too, and so does a page that was reloaded.

const NAME = "reverie-looks";

/** As many as are remembered: one is deleted within seconds; one that the page could not delete is kept as long as any dream. */
const MOST = 100;

/** @type {string[]} Where the storage is switched off, they last as long as the page. */
let known = [];

function read() {
  try {
    const stored = JSON.parse(localStorage.getItem(NAME) ?? "[]");
    if (Array.isArray(stored)) known = [...new Set([...stored, ...known])].slice(-MOST);
  } catch {}
}

/** @param {string} id */
export function remember(id) {
  read();
  known = [...known, id].slice(-MOST);
  try {
    localStorage.setItem(NAME, JSON.stringify(known));
  } catch {}
}

/** Which of some jobs are none of those. @template {{ id: string }} T @param {T[]} jobs @returns {T[]} */
export function others(jobs) {
  read();
  const mine = new Set(known);
  return jobs.filter(({ id }) => !mine.has(id));
}
