// The Python server as a child process: JSON-RPC lines over its stdin and stdout, started when first needed.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const PROTOCOL = "2025-11-25";
const START_TIMEOUT_MS = 30000;
const REST_AFTER_FAILURE_MS = 30000;
const PASSED_ON = ["HOME", "PATH", "LANG", "TMPDIR", "USERPROFILE", "SYSTEMROOT", "APPDATA", "LOCALAPPDATA"];

export class Server {
  constructor({ command, args, env }, log, now = Date.now) {
    Object.assign(this, { command, args, env, log, now });
    this.waiting = new Map();
    this.next = 1;
    this.child = undefined;
    this.ready = undefined;
    this.restUntil = 0;
  }

  /** The structured result of a tool. Rejects when the server fails, answers with an error, or takes too long. */
  async call(name, args, timeoutMs) {
    const deadline = this.now() + timeoutMs;
    await within(this.started(), timeoutMs, "the server did not start in time");
    const left = Math.max(1, deadline - this.now());
    const result = await this.request("tools/call", { name, arguments: args }, left);
    if (result.isError) throw new Error(result.content?.[0]?.text ?? `${name} failed`);
    return result.structuredContent ?? {};
  }

  started() {
    if (this.ready) return this.ready;
    if (this.now() < this.restUntil) return Promise.reject(new Error("the server failed just now; waiting a while"));
    this.ready = this.start().catch((error) => {
      this.drop(error);
      throw error;
    });
    return this.ready;
  }

  async start() {
    const known = Object.fromEntries(PASSED_ON.filter((name) => name in process.env).map((name) => [name, process.env[name]]));
    const child = spawn(this.command, this.args, { env: { ...known, ...this.env }, stdio: ["pipe", "pipe", "ignore"] });
    this.child = child;
    child.on("error", (error) => this.drop(error, child));
    child.on("exit", (code) => this.drop(new Error(`the server ended with code ${code}`), child));
    child.stdin.on("error", (error) => this.drop(error, child));
    createInterface({ input: child.stdout }).on("line", (line) => this.receive(line));
    child.unref();
    for (const stream of [child.stdin, child.stdout]) stream.unref?.();
    const clientInfo = { name: "mia-hooks", version: "0.1.0" };
    const hello = { protocolVersion: PROTOCOL, capabilities: {}, clientInfo };
    await this.request("initialize", hello, START_TIMEOUT_MS);
    this.send({ jsonrpc: "2.0", method: "notifications/initialized" });
  }

  request(method, params, timeoutMs) {
    const id = this.next++;
    const answer = new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
    this.send({ jsonrpc: "2.0", id, method, params });
    return within(answer, timeoutMs, `no answer to ${method} in ${timeoutMs} ms`).finally(() => this.waiting.delete(id));
  }

  send(message) {
    this.child?.stdin.write(`${JSON.stringify(message)}\n`);
  }

  receive(line) {
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      return this.log("mia-hooks: the server wrote a line that is not JSON");
    }
    const waiter = this.waiting.get(message.id);
    if (!waiter || message.method) return undefined;
    if (message.error) return waiter.reject(new Error(message.error.message));
    return waiter.resolve(message.result);
  }

  /** Forget a server that failed; the next call after a rest starts another. */
  drop(error, child = this.child) {
    if (child !== this.child) return;
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
    this.child = undefined;
    this.ready = undefined;
    this.restUntil = this.now() + REST_AFTER_FAILURE_MS;
    if (child?.exitCode === null) child.kill();
  }

  close() {
    const child = this.child;
    this.child = undefined;
    this.ready = undefined;
    child?.stdin.end(); // the server leaves when its input ends
  }
}

function within(promise, timeoutMs, why) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(why)), timeoutMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
