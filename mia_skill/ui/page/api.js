// Asks the server. The token comes in the part of the first address behind #, which no request holds; it is kept for
// this origin, sent as a header, and taken out of the address bar at once.

const KEPT = "mia-token";

export class Failed extends Error {
  constructor(status, told) {
    const [, kind, text] = /^([A-Z]\w+(?:Error|Miss|Refused|Exceeded)): (.*)$/s.exec(told) || [null, "", told];
    super(text);
    this.status = status;
    this.kind = kind;
  }
}

// True if there was a new one: what was known of the server is known no more.
export function takeToken() {
  const found = /^#token=([\w-]+)$/.exec(location.hash);
  if (!found) return false;
  keep(found[1]);
  history.replaceState(null, "", location.pathname + "#/");
  return true;
}

export function keep(token) { localStorage.setItem(KEPT, token.trim().replace(/^.*#token=/, "")); }

export async function ask(name, form = {}, signal = undefined) {
  let answer;
  try {
    answer = await fetch("/api/" + name, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer " + (localStorage.getItem(KEPT) || "-") },
      body: JSON.stringify(form),
      credentials: "omit",
      signal,
    });
  } catch (cause) {
    if (cause.name === "AbortError") throw cause;
    throw new Failed(0, "the server does not answer: start `mia ui` again and open the address it prints");
  }
  const told = await answer.json().catch(() => ({ error: "the answer could not be read" }));
  if (!answer.ok) throw new Failed(answer.status, told.error || "something went wrong");
  return told;
}
