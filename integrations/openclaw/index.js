// OpenClaw hooks for MIA: recall before a prompt, store at the end of a run. All thinking is done by the Python server.
import { randomBytes } from "node:crypto";
import { Server } from "./server.js";
import { question, recallBlock, runOf } from "./text.js";

const DEFAULTS = {
  recall: true,
  store: true,
  command: "mia-mcp",
  args: [],
  env: {},
  k: 2,
  maxChars: 6000,
  minSteps: 2,
  recallTimeoutMs: 8000,
};
const STORE_TIMEOUT_MS = 25000; // the host stops waiting for `agent_end` after 30 s
const REMEMBERED_RUNS = 200;

/** Which run a hook speaks of. */
function runKey(event, ctx) {
  return event.runId ?? ctx?.runId ?? ctx?.sessionId ?? ctx?.sessionKey ?? "only";
}

/** Was this turn asked by a person? Heartbeats, jobs and messages between sessions are neither recalled nor kept. */
function asked(ctx) {
  const kind = ctx?.inputProvenance?.kind;
  return (kind === undefined || kind === "external_user") && !["heartbeat", "cron", "memory"].includes(ctx?.trigger);
}

export function hooks(config, server, log) {
  const runs = new Map(); // run -> {question, memories}: what was asked and what was shown

  function note(key, run) {
    runs.delete(key);
    runs.set(key, run);
    if (runs.size > REMEMBERED_RUNS) runs.delete(runs.keys().next().value);
  }

  async function beforePrompt(event, ctx) {
    const asking = asked(ctx) ? question(event) : "";
    if (!asking) return undefined;
    const key = runKey(event, ctx);
    note(key, { question: asking, memories: [] });
    if (!config.recall) return undefined;
    try {
      const found = await server.call("memory_retrieve", { question: asking, k: config.k }, config.recallTimeoutMs);
      const memories = found.memories ?? [];
      if (memories.length === 0) return undefined;
      note(key, { question: asking, memories });
      return { prependContext: recallBlock(memories, randomBytes(6).toString("hex"), config.maxChars) };
    } catch (error) {
      log(`mia-hooks: no recall: ${error.message}`);
      return undefined;
    }
  }

  async function agentEnd(event, ctx) {
    const key = runKey(event, ctx);
    const known = runs.get(key);
    runs.delete(key);
    if (!config.store || !known || !event.success) return;
    const run = runOf(event.messages ?? [], known);
    if (run.stored || run.steps.length < config.minSteps || !run.answer) return;
    const memory_ids = known.memories.map((one) => one.id);
    const { question: text, answer, steps, plan } = run;
    try {
      await server.call("memory_store", { question: text, answer, steps, plan, memory_ids }, STORE_TIMEOUT_MS);
    } catch (error) {
      log(`mia-hooks: the run was not kept: ${error.message}`);
    }
  }

  return { beforePrompt, agentEnd };
}

export default {
  id: "mia-hooks",
  name: "MIA hooks",
  description: "Recall before a prompt, store at the end of a run.",
  register(api) {
    const config = { ...DEFAULTS, ...(api.pluginConfig ?? {}) };
    if (!config.recall && !config.store) return;
    const log = (text) => api.logger?.warn?.(text);
    const server = new Server(config, log);
    const { beforePrompt, agentEnd } = hooks(config, server, log);
    api.on("before_prompt_build", beforePrompt, { timeoutMs: config.recallTimeoutMs + 1000 });
    api.on("agent_end", agentEnd, { timeoutMs: STORE_TIMEOUT_MS + 2000 });
    api.on("gateway_stop", () => server.close());
  },
};
