// Drives the official SDKs of Node as told on standard input, a JSON object a line; answers with one, in the same order.
// {sdk, url, key, way, question, options, settings} → {value} or {error}: what the SDK's user sees.

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { z } from "zod";

const Trip = z.object({ city: z.string(), days: z.number().int() });
const LEFT_AFTER_MS = 300;

function clientOf({ sdk, url, key, settings }, fetch) {
  const told = { apiKey: key, maxRetries: 0, timeout: 30_000, fetch, ...settings };
  return sdk === "openai" ? new OpenAI({ baseURL: `${url}/v1`, ...told }) : new Anthropic({ baseURL: url, ...told });
}

async function all(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

async function withResponse(asked) {
  const { data, response, request_id } = await asked.withResponse();
  return { data, status: response.status, type: response.headers.get("content-type"), named: Boolean(request_id) };
}

// A tool that says what it was called with, so that both sides of a loop are seen.
function tool(name, calls) {
  return (input) => {
    calls.push([name, input]);
    return `${name} is done`;
  };
}

async function openaiTools(client, question, options) {
  const calls = [];
  const tools = question.tools.map(({ function: { name, description, parameters } }) => ({
    type: "function",
    function: { name, description, parameters, parse: JSON.parse, function: tool(name, calls) },
  }));
  const runner = client.chat.completions.runTools({ ...question, tools }, { maxChatCompletions: 3, ...options });
  const messages = [];
  runner.on("message", (message) => messages.push(message));
  await runner.done().catch((error) => messages.push(String(error.message)));
  return { calls, messages };
}

async function anthropicTools(client, question, options) {
  const calls = [];
  const tools = question.tools.map((one) => ({ ...one, run: tool(one.name, calls), parse: (input) => input }));
  const runner = client.beta.messages.toolRunner({ ...question, tools, max_iterations: 3 }, options);
  const messages = await all(runner);
  return { calls, messages };
}

async function leave(client, start) {
  const stream = await start;
  const seen = [];
  for await (const event of stream) {
    seen.push(event);
    if (seen.length === 3) break;
  }
  return seen.length;
}

async function giveUp(asked, controller) {
  const ended = asked.then(
    () => "answered",
    (error) => error.constructor.name,
  );
  await pause(LEFT_AFTER_MS);
  controller.abort();
  return ended;
}

const OPENAI = {
  created: (client, question, options) => client.chat.completions.create(question, options),
  "with response": (client, question, options) => withResponse(client.chat.completions.create(question, options)),
  "by events": async (client, question, options) =>
    all(await client.chat.completions.create({ ...question, stream: true }, options)),
  "by events with usage": async (client, question, options) =>
    all(
      await client.chat.completions.create(
        { ...question, stream: true, stream_options: { include_usage: true } },
        options,
      ),
    ),
  "by the stream's helper": (client, question, options) =>
    client.chat.completions.stream(question, options).finalChatCompletion(),
  parsed: async (client, question, options) => {
    const format = zodResponseFormat(Trip, "trip");
    const told = await client.chat.completions.parse({ ...question, response_format: format }, options);
    return { told, parsed: Trip.parse(told.choices[0].message.parsed) };
  },
  "by a loop of tools": openaiTools,
  "a response": (client, question, options) => client.responses.create(question, options),
  "a response by events": async (client, question, options) =>
    all(await client.responses.create({ ...question, stream: true }, options)),
  "a response by the stream's helper": (client, question, options) =>
    client.responses.stream(question, options).finalResponse(),
  "a parsed response": async (client, question, options) => {
    const told = await client.responses.parse({ ...question, text: { format: zodTextFormat(Trip, "trip") } }, options);
    return Trip.parse(told.output_parsed);
  },
  embedded: (client, question, options) => client.embeddings.create(question, options),
  models: async (client) => all(await client.models.list()),
  left: (client, question, options) =>
    leave(client, client.chat.completions.create({ ...question, stream: true }, options)),
  "given up": (client, question, options) => {
    const controller = new AbortController();
    const asked = client.chat.completions.create(question, { ...options, signal: controller.signal });
    return giveUp(asked, controller);
  },
};

const ANTHROPIC = {
  created: (client, question, options) => client.messages.create(question, options),
  "with response": (client, question, options) => withResponse(client.messages.create(question, options)),
  "by events": async (client, question, options) =>
    all(await client.messages.create({ ...question, stream: true }, options)),
  "by the stream's helper": async (client, question, options) => {
    const stream = client.messages.stream(question, options);
    let text = "";
    stream.on("text", (piece) => (text += piece));
    return { message: await stream.finalMessage(), text };
  },
  "by the beta's path": (client, question, options) => client.beta.messages.create(question, options),
  parsed: async (client, question, options) => {
    const format = { format: zodOutputFormat(Trip) };
    const told = await client.messages.parse({ ...question, output_config: format }, options);
    return { told, parsed: Trip.parse(told.parsed_output) };
  },
  "by a loop of tools": anthropicTools,
  counted: ({ messages }, { max_tokens, ...question }, options) => messages.countTokens(question, options),
  models: async (client) => all(await client.models.list()),
  left: (client, question, options) => leave(client, client.messages.create({ ...question, stream: true }, options)),
  "given up": (client, question, options) => {
    const controller = new AbortController();
    return giveUp(client.messages.create(question, { ...options, signal: controller.signal }), controller);
  },
};

function told(error) {
  const kinds = [];
  for (let kind = error.constructor; kind?.name; kind = Object.getPrototypeOf(kind)) kinds.push(kind.name);
  const { status, code, param, type } = error;
  return { kinds, status, code, param, type, named: Boolean(error.requestID), message: error.message };
}

for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  let answer;
  let sent = 0;
  const counting = (...asked) => {
    sent += 1;
    return fetch(...asked);
  };
  try {
    const ways = job.sdk === "openai" ? OPENAI : ANTHROPIC;
    answer = { value: (await ways[job.way](clientOf(job, counting), job.question, job.options)) ?? null };
  } catch (error) {
    answer = { error: { ...told(error), sent } };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
