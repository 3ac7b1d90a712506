import assert from "node:assert/strict";
import { test } from "node:test";
import plugin, { hooks } from "../index.js";
import { Server } from "../server.js";

const CONFIG = { recall: true, store: true, k: 2, maxChars: 6000, minSteps: 1, recallTimeoutMs: 1000 };
const ASKED = { prompt: "Who founded Ostrel Mills?" };
const TURN = [
  { role: "user", content: "Who founded Ostrel Mills?" },
  { role: "assistant", content: [{ type: "toolCall", id: "1", name: "web_fetch", arguments: { url: "x" } }] },
  { role: "toolResult", toolCallId: "1", content: [{ type: "text", text: "Bela Ruvo founded Ostrel Mills." }] },
  { role: "assistant", content: [{ type: "text", text: "Bela Ruvo" }] },
];

function scripted(answers) {
  const calls = [];
  return {
    calls,
    call: async (name, args) => {
      calls.push([name, args]);
      if (answers[name] instanceof Error) throw answers[name];
      return answers[name] ?? {};
    },
  };
}
const MEMORIES = { memories: [{ id: "mem_1", outcome: "correct", question: "q", workflow: "1. look it up somewhere" }] };

test("memories stand before the prompt and get the credit when the run is kept", async () => {
  const server = scripted({ memory_retrieve: MEMORIES });
  const { beforePrompt, agentEnd } = hooks(CONFIG, server, assert.fail);
  const { prependContext } = await beforePrompt(ASKED, { runId: "r", trigger: "user" });
  assert.match(prependContext, /look it up somewhere/);
  await agentEnd({ runId: "r", success: true, messages: TURN }, {});
  const [name, args] = server.calls.at(-1);
  assert.equal(name, "memory_store");
  assert.deepEqual(args.memory_ids, ["mem_1"]);
  assert.equal(args.question, "Who founded Ostrel Mills?");
  assert.equal(args.outcome, undefined, "the server judges; the hook does not claim success");
});

test("nothing relevant adds nothing, and a failing server neither stops nor fills the turn", async () => {
  const logged = [];
  for (const answers of [{ memory_retrieve: { memories: [] } }, { memory_retrieve: new Error("gone"), memory_store: new Error("gone") }]) {
    const { beforePrompt, agentEnd } = hooks(CONFIG, scripted(answers), (text) => logged.push(text));
    assert.equal(await beforePrompt(ASKED, { runId: "r" }), undefined);
    await agentEnd({ runId: "r", success: true, messages: TURN }, {});
  }
  assert.deepEqual(logged, ["mia-hooks: no recall: gone", "mia-hooks: the run was not kept: gone"]);
});

test("heartbeats, other sessions, failed and unknown runs are neither recalled nor kept", async () => {
  const server = scripted({ memory_retrieve: MEMORIES });
  const { beforePrompt, agentEnd } = hooks(CONFIG, server, assert.fail);
  for (const ctx of [{ trigger: "heartbeat" }, { inputProvenance: { kind: "inter_session" } }, { inputProvenance: { kind: "internal_system" } }]) {
    assert.equal(await beforePrompt(ASKED, { runId: "r", ...ctx }), undefined);
  }
  await agentEnd({ runId: "r", success: true, messages: TURN }, {});
  assert.deepEqual(server.calls, []);
  await beforePrompt(ASKED, { runId: "s" });
  await agentEnd({ runId: "s", success: false, messages: TURN }, {});
  assert.deepEqual(server.calls.map(([name]) => name), ["memory_retrieve"]);
});

test("each half can be switched off, and with both off no hook is registered", async () => {
  const quiet = scripted({ memory_retrieve: MEMORIES });
  const { beforePrompt, agentEnd } = hooks({ ...CONFIG, recall: false, store: false }, quiet, assert.fail);
  assert.equal(await beforePrompt(ASKED, { runId: "r" }), undefined);
  await agentEnd({ runId: "r", success: true, messages: TURN }, {});
  assert.deepEqual(quiet.calls, []);
  const names = [];
  const api = (pluginConfig) => ({ pluginConfig, on: (name) => names.push(name) });
  plugin.register(api({ recall: false, store: false }));
  assert.deepEqual(names, []);
  plugin.register(api({}));
  assert.deepEqual(names, ["before_prompt_build", "agent_end", "gateway_stop"]);
});

test("a server that cannot be started fails the call, and is left in peace for a while", async () => {
  const server = new Server({ command: "/no/such/program", args: [], env: {} }, assert.fail);
  await assert.rejects(server.call("plan", {}, 2000), /ENOENT/);
  await assert.rejects(server.call("plan", {}, 2000), /waiting a while/);
});

const command = process.env.MIA_TEST_PYTHON;
test("a real server recalls the second time what was stored the first time", { skip: !command && "MIA_TEST_PYTHON is not set" }, async () => {
  const env = { MIA_HOME: process.env.MIA_TEST_HOME, MIA_MEMORY__EMBEDDER: "hash", PYTHONPATH: process.env.PYTHONPATH ?? "" };
  const server = new Server({ command, args: ["-m", "mcp_server"], env }, assert.fail);
  const { beforePrompt, agentEnd } = hooks({ ...CONFIG, recallTimeoutMs: 30000 }, server, assert.fail);
  assert.equal(await beforePrompt(ASKED, { runId: "1" }), undefined);
  await agentEnd({ runId: "1", success: true, messages: TURN }, {});
  const again = await beforePrompt(ASKED, { runId: "2" });
  assert.match(again.prependContext, /correct\] Who founded Ostrel Mills/);
  assert.doesNotMatch(again.prependContext, /Bela Ruvo/, "workflows hold no facts");
  server.close();
});
